"""What a pod of ranks is: how its ranks meet, how they are started and ended. Imports no MindSpore: it takes seconds.

The ranks are processes that run `training.rank`; this room knows them by their command, their report and their log.
"""
