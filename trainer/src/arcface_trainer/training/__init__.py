"""The training of one rank from its configuration to its report: building, loop, verification, loss check, history.

Imports all rooms below it, never `pod`, which starts it as a process.
"""
