"""Layers that the backbones share."""

from mindspore import nn

BATCH_NORM = {"eps": 1e-5, "momentum": 0.9}
"""MindSpore's momentum is the share of the old statistics."""


def embedding_norm(size: int) -> nn.BatchNorm1d:
    """Batch normalisation of the embedding; its scale stays 1 since the loss normalises the length anyway."""
    norm = nn.BatchNorm1d(size, **BATCH_NORM)
    norm.gamma.requires_grad = False
    return norm
