import numpy as np
import pytest

from arcface_api.resource.spec import LossSpec
from arcface_trainer.training.loss_check import initial_loss_warning


def fresh_loss(loss, margin, dimension, classes, images):
    """Loss of random unit vectors against random centres with this angular margin: float64, no code of ours."""
    random = np.random.default_rng(classes)

    def unit(count):
        return (x := random.normal(size=(count, dimension))) / np.linalg.norm(x, axis=1, keepdims=True)

    cosines = unit(images) @ unit(classes).T
    own = np.arange(images), random.integers(0, classes, images)
    logits = loss.scale * cosines
    logits[own] = loss.scale * np.cos(np.arccos(cosines[own]) + margin)
    peaks = logits.max(axis=1)
    return float((np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks - logits[own]).mean())


SHAPES = [
    pytest.param(64.0, 0.5, 32, 20, 64, id="few classes"),
    pytest.param(64.0, 0.5, 128, 400, 512, id="some classes"),
    pytest.param(64.0, 0.5, 16, 1000, 1024, id="few dimensions"),
    pytest.param(64.0, 0.5, 64, 20_000, 2048, id="many classes and images"),
    pytest.param(64.0, 0.5, 8, 10, 2048, id="fewest dimensions"),
    pytest.param(64.0, 0.5, 512, 20_000, 128, id="the paper's"),
    pytest.param(32.0, 0.3, 128, 955, 64, id="faces of lfw"),
]


@pytest.mark.parametrize(("scale", "margin", "dimension", "classes", "images"), SHAPES)
def test_a_fresh_network_raises_no_warning(scale, margin, dimension, classes, images):
    loss = LossSpec(scale=scale, margin=margin)
    measured = fresh_loss(loss, margin, dimension, classes, images)
    assert initial_loss_warning(measured, loss, classes, dimension, images) is None


@pytest.mark.parametrize(("scale", "margin", "dimension", "classes", "images"), SHAPES)
def test_a_margin_that_is_not_applied_is_noticed(scale, margin, dimension, classes, images):
    loss = LossSpec(scale=scale, margin=margin)
    measured = fresh_loss(loss, 0.0, dimension, classes, images)
    assert "margin is not applied" in initial_loss_warning(measured, loss, classes, dimension, images)


@pytest.mark.parametrize(
    ("measured", "cause"),
    [
        pytest.param(11.4, "margin is not applied", id="plain softmax"),
        pytest.param(69.0776, "not random", id="too high"),
        pytest.param(float("nan"), "not random", id="not a number"),
    ],
)
def test_a_wrong_start_names_the_likely_cause(measured, cause):
    warning = initial_loss_warning(measured, LossSpec(), 85_742, 512, 1024)
    assert warning is not None
    assert cause in warning
    assert "46.0" in warning
