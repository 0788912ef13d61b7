"""Margins against closed formulas (reference cases L1 to L3 of the protocol collection)."""

import math

import numpy as np
import pytest
from mindspore import Tensor

from arcface_api.resource.spec import LossSpec
from arcface_trainer.head.margin import apply_margin


def margin_of(loss: LossSpec, *cosines: float):
    after, slope = apply_margin(Tensor(np.array(cosines, np.float32)), loss)
    return after.asnumpy(), slope.asnumpy()


@pytest.mark.parametrize(
    ("cosine", "logit"),
    [
        pytest.param(0.5, 1.510181, id="60 degrees"),
        pytest.param(0.0, -30.683234, id="right angle"),
        pytest.param(-0.5, -54.655103, id="120 degrees"),
        pytest.param(-0.9, 64 * -1.139713, id="beyond pi - m: linear continuation"),
        pytest.param(-1.0, 64 * -1.239713, id="opposite"),
        pytest.param(1.0, 64 * 0.877583, id="same direction"),
    ],
)
def test_arcface_logit_of_the_target(cosine, logit):
    after, _ = margin_of(LossSpec(), cosine)
    assert 64 * after[0] == pytest.approx(logit, abs=2e-4)


def test_straight_through_has_no_fallback_and_slope_one():
    after, slope = margin_of(LossSpec(gradient="straightThrough"), -0.9)
    assert 64 * after[0] == pytest.approx(-63.923267, abs=2e-4)
    assert slope[0] == 1


def test_cosface_subtracts_the_margin():
    after, slope = margin_of(LossSpec(type="cosface", margin=0.4), 0.5, -0.9)
    np.testing.assert_allclose(after, [0.1, -1.3], atol=1e-6)
    np.testing.assert_array_equal(slope, [1, 1])


def test_combined_is_cos_of_m1_angle_plus_m2_minus_m3():
    cosines = [0.9, 0.5, 0.0, -0.5]
    after, _ = margin_of(LossSpec(type="combined", m1=1.1, m2=0.2, m3=0.15), *cosines)
    np.testing.assert_allclose(after, [math.cos(1.1 * math.acos(c) + 0.2) - 0.15 for c in cosines], atol=1e-6)


COMBINED = [
    LossSpec(type="combined", m1=m1, m2=m2, m3=0.1)
    for m1, m2 in [(1.0, 0.5), (1.2, 0.3), (2.0, 0.0), (4.0, 0.3), (8.0, 0.0), (1.0, 3.149), (8.0, 3.149)]
]


@pytest.mark.parametrize("loss", COMBINED, ids=lambda loss: f"m1={loss.m1} m2={loss.m2}")
def test_a_combined_margin_never_rises_with_the_angle_and_has_no_step(loss):
    cosines = np.cos(np.linspace(0, np.pi, 2001))
    after, slope = margin_of(loss, *cosines)
    changes = np.diff(after)
    assert changes.max() <= 1e-5
    assert changes.min() >= -0.02, "a step of the angle by 0.0016 times a factor of 8"
    assert (slope >= 0).all()
    assert slope[-1] == 1


@pytest.mark.parametrize(
    "loss",
    [LossSpec(), LossSpec(margin=0.3), LossSpec(type="combined", m1=1.2, m2=0.3, m3=0.1)],
    ids=["arcface .5", "arcface .3", "combined"],
)
def test_slope_is_the_derivative(loss):
    """Central differences of the closed formula in float64; cosines on both sides of the fallback."""
    cosines = np.array([0.95, 0.6, 0.1, -0.4, -0.8, -0.95])

    def after(cosine: float) -> float:
        angle = math.acos(cosine)
        if loss.type == "combined":
            turned = max(0.0, loss.m1 * angle + loss.m2 - math.pi)
            return cosine if turned else math.cos(loss.m1 * angle + loss.m2)
        inside = angle + loss.margin < math.pi
        return math.cos(angle + loss.margin) if inside else cosine - loss.margin * math.sin(loss.margin)

    step = 1e-6
    expected = [(after(c + step) - after(c - step)) / (2 * step) for c in cosines]
    _, slope = margin_of(loss, *cosines)
    np.testing.assert_allclose(slope, expected, rtol=2e-4)


def test_slope_stays_finite_at_the_poles():
    _, slope = margin_of(LossSpec(), 1.0, -1.0)
    assert np.isfinite(slope).all()
