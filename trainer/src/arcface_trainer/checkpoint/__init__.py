"""The state of a training: taken from the devices, written, and found again."""
