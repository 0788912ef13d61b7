"""What follows from what was observed: pure, without a client and without a clock of its own.

`decide` goes by the phase of a job: `starting`, `training`, `evaluation`, `ending`. Each field that bounds a job is
judged in `policies`, by its name. May import `manifests`, `preflight` and `settings`.
"""
