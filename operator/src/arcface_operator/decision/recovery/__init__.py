"""Recovery from faults: its rungs, which of them a fault is met with, what is kept of it; pure."""
