"""The operator proper: watches jobs, observes, lets decide, and acts; the only room that knows kopf."""
