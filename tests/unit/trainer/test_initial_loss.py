import numpy as np
import pytest

from arcface_api.spec import LossSpec
from arcface_trainer.initial_loss import expected_initial_loss, initial_loss_warning


def test_ms1mv2_starts_at_46():
    """L5: 30.683 + ln 85742 + 64^2 / (2 * 512); InsightFace's log shows 46.71 at step 20."""
    assert expected_initial_loss(LossSpec(), 85_742, 512) == pytest.approx(30.683 + 11.359 + 4, abs=1e-3)


def test_cosface_on_webface4m_starts_at_42():
    loss = LossSpec(type="cosface", margin=0.4)
    assert expected_initial_loss(loss, 205_990, 512) == pytest.approx(25.6 + 12.236 + 4, abs=1e-3)


def test_random_embeddings_raise_no_warning():
    """An independent draw: cosines of random vectors, float64 softmax."""
    random = np.random.default_rng(0)

    def unit(shape):
        return (x := random.normal(size=shape)) / np.linalg.norm(x, axis=1, keepdims=True)

    cosines = unit((64, 128)) @ unit((955, 128)).T
    labels = random.integers(0, 955, 64)
    loss = LossSpec(scale=32.0, margin=0.3)
    logits = 32 * cosines
    logits[np.arange(64), labels] = 32 * np.cos(np.arccos(cosines[np.arange(64), labels]) + 0.3)
    measured = float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(64), labels]).mean())
    assert initial_loss_warning(measured, loss, 955, 128, 64) is None


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
