"""One update: forward, backward, clip, momentum. Imports head, network and distributed."""
