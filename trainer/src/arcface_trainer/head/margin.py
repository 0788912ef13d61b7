"""Margins on the cosine of an image with its own class, and their derivatives.

ArcFace: Deng et al. 2019 (arXiv 1801.07698, eq. 3); CosFace: Wang et al. 2018 (arXiv 1801.09414, eq. 4); the combined
form cos(m1*angle + m2) - m3 is eq. 4 of ArcFace. Tensor suffix: B images.
"""

import math

from mindspore import Tensor, ops

from arcface_api.initial_loss import turning_cosine
from arcface_api.resource.spec import LossSpec

MIN_SINE = 1e-3
"""The derivative of ArcFace's margin has a pole at angle 0; below this sine (0.06 degrees) it is cut off."""


def apply_margin(cosines_B: Tensor, loss: LossSpec) -> tuple[Tensor, Tensor]:
    """Cosines after the margin and d(after)/d(before).

    Args:
        cosines_B: cosine of each image with its own class, in [-1, 1].
        loss: kind and size of the margin; `straightThrough` takes 1 as the derivative.

    With the exact gradient ArcFace continues linearly, cos - m*sin(m), where angle + m would pass pi, so that the
    logit keeps falling with the cosine; the straight-through form has no such fallback (as InsightFace since 2022).
    """
    if loss.type == "cosface":
        return cosines_B - loss.margin, ops.ones_like(cosines_B)
    if loss.type == "combined":
        after_B, slope_B = _combined(cosines_B, loss)
    else:
        after_B, slope_B = _additive_angle(cosines_B, loss.margin, has_fallback=loss.gradient == "exact")
    if loss.gradient == "straightThrough":
        return after_B, ops.ones_like(cosines_B)
    return after_B, slope_B


def _additive_angle(cosines_B: Tensor, margin: float, *, has_fallback: bool) -> tuple[Tensor, Tensor]:
    """cos(angle + margin) by the angle-addition identity, and sin(angle + margin) / sin(angle)."""
    sines_B = ops.sqrt(ops.relu(1 - cosines_B * cosines_B))
    after_B = cosines_B * math.cos(margin) - sines_B * math.sin(margin)
    slope_B = math.cos(margin) + math.sin(margin) * cosines_B / ops.clamp(sines_B, min=MIN_SINE)
    if not has_fallback:
        return after_B, slope_B
    is_inside_B = cosines_B > math.cos(math.pi - margin)
    fallback_B = cosines_B - margin * math.sin(margin)
    return ops.where(is_inside_B, after_B, fallback_B), ops.where(is_inside_B, slope_B, ops.ones_like(slope_B))


def _combined(cosines_B: Tensor, loss: LossSpec) -> tuple[Tensor, Tensor]:
    """cos(m1*angle + m2) - m3 and its derivative, up to the angle where m1*angle + m2 is pi.

    From there on it would rise again, a factor of 4 even three times, and an image would be drawn away from its class.
    Instead it goes on in a straight line as ArcFace does, with slope 1 and without ArcFace's step down.
    """
    m1, m2, m3 = loss.m1 or 1.0, loss.m2 or 0.0, loss.m3 or 0.0
    angles_B = ops.acos(cosines_B)
    sines_B = ops.clamp(ops.sqrt(ops.relu(1 - cosines_B * cosines_B)), min=MIN_SINE)
    after_B = ops.cos(m1 * angles_B + m2) - m3
    slope_B = ops.relu(m1 * ops.sin(m1 * angles_B + m2) / sines_B)  # rounding may pass pi by a digit
    lowest = turning_cosine(m1, m2)
    is_inside_B = cosines_B > lowest
    line_B = cosines_B - (lowest + 1 + m3)
    return ops.where(is_inside_B, after_B, line_B), ops.where(is_inside_B, slope_B, ops.ones_like(slope_B))
