"""The training of one rank from its configuration to its report: building, loop, verification, a check of the loss.

Imports all rooms below it, never `pod`, which starts it as a process.
"""
