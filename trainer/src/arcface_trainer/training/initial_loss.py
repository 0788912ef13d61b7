"""Judges the first loss: a cheap test of data, labels and head before hours are spent."""

import math

from arcface_api.initial_loss import expected_initial_loss, margin_cost
from arcface_api.resource.spec import LossSpec

STANDARD_ERRORS = 5.0
SLACK = 1.0
"""What a fresh network may be off by, beside the scatter of a small batch."""


def initial_loss_warning(
    measured: float, loss: LossSpec, class_count: int, embedding_size: int, images: int
) -> str | None:
    """One line with the likely cause where the first loss is off; None where it is as expected.

    Args:
        measured: loss before the first update.
        loss: kind and size of the margin.
        class_count: identities.
        embedding_size: length of the embedding.
        images: images that the loss is a mean over.
    """
    expected = expected_initial_loss(loss, class_count, embedding_size)
    scatter = loss.scale / math.sqrt(embedding_size * images)
    # The largest of C cosines of unit vectors is smaller than that of normal numbers by this share, to first order.
    narrower = abs(expected - margin_cost(loss)) * math.log(class_count) / (2 * embedding_size)
    if abs(measured - expected) <= SLACK + STANDARD_ERRORS * scatter + narrower:
        return None
    cause = (
        "embeddings or centres are not random (all images alike or undecoded, or a wrong initialisation)"
        if not measured < expected
        else "the margin is not applied, or labels or centres are not those of a fresh run"
    )
    return f"first loss is {measured:.3f}, a fresh network should have {expected:.3f}: likely cause: {cause}"
