"""The state of a training: taken from the devices, saved by all ranks when that is due, and found again.

Imports step and below, and metrics.
"""
