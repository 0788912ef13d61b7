"""One update as one graph: gradients in buckets, clipping and momentum on flat vectors, votes of the ranks.

Imports head, network, distributed.
"""
