"""The state of a training: taken from the devices, written by all ranks, and found again. Imports step and below."""
