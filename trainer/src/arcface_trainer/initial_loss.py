"""The loss a fresh network must start with: a cheap test of data, labels and head before hours are spent."""

import math

from arcface_api.spec import LossSpec

STANDARD_ERRORS = 5.0
SLACK = 1.0
"""What the approximation may be off by, beside the scatter of a small batch."""


def expected_initial_loss(loss: LossSpec, class_count: int, embedding_size: int) -> float:
    """Mean loss of random embeddings against random centres.

    Cosines are then N(0, 1/d), so the softmax over C classes adds ln C + s^2/(2d) to what the margin costs at a right
    angle: s*sin(m) for ArcFace (30.683 at s = 64, m = 0.5), s*m for CosFace.
    """
    spread = loss.scale**2 / (2 * embedding_size)
    return margin_cost(loss) + math.log(class_count) + spread


def margin_cost(loss: LossSpec) -> float:
    """Minus the logit of the right class at a right angle."""
    if loss.type == "cosface":
        return loss.scale * loss.margin
    if loss.type == "combined":
        m1, m2, m3 = loss.m1 or 1.0, loss.m2 or 0.0, loss.m3 or 0.0
        return -loss.scale * (math.cos(m1 * math.pi / 2 + m2) - m3)
    return loss.scale * math.sin(loss.margin)


def initial_loss_warning(
    measured: float, loss: LossSpec, class_count: int, embedding_size: int, pictures: int
) -> str | None:
    """One line with the likely cause where the first loss is off; None where it is as expected.

    Args:
        measured: loss before the first update.
        loss: kind and size of the margin.
        class_count: identities.
        embedding_size: length of the embedding.
        pictures: pictures that the loss is a mean over.
    """
    expected = expected_initial_loss(loss, class_count, embedding_size)
    scatter = loss.scale / math.sqrt(embedding_size * pictures)
    if abs(measured - expected) <= SLACK + STANDARD_ERRORS * scatter:
        return None
    cause = (
        "embeddings or centres are not random (all pictures alike or undecoded, or a wrong initialisation)"
        if not measured < expected
        else "the margin is not applied, or labels or centres are not those of a fresh run"
    )
    return f"first loss is {measured:.3f}, a fresh network should have {expected:.3f}: likely cause: {cause}"
