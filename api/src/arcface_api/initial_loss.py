"""The loss that a fresh network starts with, which `arcface plan` tells and the trainer compares with the first step's.

Cosines of random embeddings and random centres are nearly normal with variance 1/d. So the loss is what the margin
costs at a right angle, plus the mean of log(e^own + the sum of e^x over the other classes) with x from N(0, s^2/d) and
`own` shifted by the margin. Over very many classes that mean is ln C + s^2/(2d); over fewer the sum rarely meets the
rare large cosines that this counts on, and the mean lies far below it.
"""

import math

from arcface_api.class_sampling import compared_classes
from arcface_api.resource.spec import LossSpec

TAIL = 8.0
"""Standard deviations beyond which a normal variable is left out."""
FINEST_STEP = 1.0
"""Of both integrals, in units of the logits: their integrands are so smooth that the sums are good to 1e-3."""
STEPS_PER_DEVIATION = 16
"""At least, however wide the logits are spread."""
GONE = 4.0
"""Where exp(-exp(v)) is 0, and below its negative tenfold is 1, to all digits that count."""


def expected_initial_loss(loss: LossSpec, class_count: int, embedding_size: int, images: int) -> float:
    """Mean loss of random embeddings against random centres of two or more classes.

    Args:
        loss: kind and size of the margin; share of the classes, and which of them are left out.
        class_count: identities.
        embedding_size: length of the embedding.
        images: of the joined batch, whose classes are compared with whatever is drawn.
    """
    cost = margin_cost(loss)
    deviation = loss.scale / math.sqrt(embedding_size)
    others = compared_classes(class_count, loss.sample_rate, images) - 1
    limit = math.inf if loss.interclass_filter is None else loss.scale * loss.interclass_filter
    return cost + _mean_log_sum(-cost, _margin_slope(loss) * deviation, deviation, others, limit)


def margin_cost(loss: LossSpec) -> float:
    """Minus the logit of the right class at a right angle: 30.683 for ArcFace at s = 64, m = 0.5."""
    factor, angle, subtracted = _angular_margin(loss)
    if _goes_in_a_line(loss):
        return loss.scale * (turning_cosine(factor, angle) + 1 + subtracted)
    return -loss.scale * (math.cos(factor * math.pi / 2 + angle) - subtracted)


def turning_cosine(factor: float, angle: float) -> float:
    """The cosine at which cos(m1 * angle + m2) is lowest: below it the combined margin goes on in a straight line."""
    return math.cos(max(0.0, (math.pi - angle) / factor))


def _margin_slope(loss: LossSpec) -> float:
    """Change of the right class's cosine after the margin by its cosine, at a right angle."""
    factor, angle, _ = _angular_margin(loss)
    return 1.0 if _goes_in_a_line(loss) else factor * math.sin(factor * math.pi / 2 + angle)


def _goes_in_a_line(loss: LossSpec) -> bool:
    """Whether a combined margin has passed its lowest value at a right angle."""
    factor, angle, _ = _angular_margin(loss)
    return loss.type == "combined" and turning_cosine(factor, angle) >= 0


def _angular_margin(loss: LossSpec) -> tuple[float, float, float]:
    """The margin as cos(m1 * angle + m2) - m3."""
    if loss.type == "cosface":
        return 1.0, 0.0, loss.margin
    if loss.type == "arcface":
        return 1.0, loss.margin, 0.0
    return loss.m1 or 1.0, loss.m2 or 0.0, loss.m3 or 0.0


def _mean_log_sum(own: float, own_deviation: float, deviation: float, others: int, limit: float) -> float:
    """Mean of log S, where S = e^N(own, own_deviation^2) + the sum of e^N(0, deviation^2) over the others.

    Of the others those above the limit are left out.

    By Frullani's integral log S is that of (exp(-t) - exp(-t S)) / t over t > 0. The mean of exp(-t S) is a product of
    one factor a class; with t = e^u both integrals are plain sums at equal distances.
    """
    step = max(FINEST_STEP, deviation / STEPS_PER_DEVIATION)
    largest = max(TAIL * deviation + math.log(others), own + TAIL * abs(own_deviation))
    first = -largest - 20.0  # where exp(-t) and exp(-t S) are both 1
    count = math.ceil((TAIL * deviation + GONE - first) / step)
    total = 0.0
    for index in range(count + 1):
        u = first + index * step
        absent = _mean_of_gone(u, 0.0, deviation, limit) ** others * _mean_of_gone(u, own, own_deviation)
        total += _gone(u) - absent
    return total * step


def _mean_of_gone(u: float, mean: float, deviation: float, limit: float = math.inf) -> float:
    """Mean of exp(-exp(u + x)) with x from N(mean, deviation^2), and of 1 for an x above the limit."""
    spread = abs(deviation)
    step = min(0.5, max(FINEST_STEP / spread, 1 / STEPS_PER_DEVIATION)) if spread else 0.5
    half = math.ceil(TAIL / step)
    total = weights = 0.0
    for index in range(-half, half + 1):
        z = index * step
        weight = math.exp(-z * z / 2)
        weights += weight
        share, x = _up_to(limit, mean + spread * z, spread * step / 2)
        total += weight * (share * _gone(u + x) + 1 - share)
    return total / weights


def _up_to(limit: float, x: float, half: float) -> tuple[float, float]:
    """Share of the interval around x that lies below the limit, and the middle of that part."""
    if x + half <= limit:
        return 1.0, x
    if x - half >= limit:
        return 0.0, x
    return (limit - x + half) / (2 * half), (x - half + limit) / 2


def _gone(v: float) -> float:
    """exp(-exp(v))."""
    if v > GONE:
        return 0.0
    return 1.0 if v < -10 * GONE else math.exp(-math.exp(v))
