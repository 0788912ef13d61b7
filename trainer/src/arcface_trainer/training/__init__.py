"""The training of one rank from its configuration to its report: loop, figures, checkpoints, verification.

Imports all rooms below it, never `pod`, which starts it as a process.
"""
