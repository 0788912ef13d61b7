"""The one table of faults, for jobs of a cluster and of this machine: what each is called, and what follows; pure."""
