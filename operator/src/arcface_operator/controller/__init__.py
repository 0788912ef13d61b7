"""The operator proper: watches jobs, observes, lets decide, and acts; the only room that knows kopf.

A job is named by its `JobRef` in the queue and the caches, and by its `JobTracker` within one look. `reconciler` is the
place to begin reading: it asks `observer` for everything, `decide` once, writes the status, then has the executor act.
"""
