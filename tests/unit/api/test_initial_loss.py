"""The expected first loss against published figures and against drawn logits."""

import math
import time

import numpy as np
import pytest

from arcface_api.initial_loss import expected_initial_loss
from arcface_api.resource.spec import LossSpec


@pytest.mark.parametrize(
    ("loss", "classes", "expected"),
    [
        # 30.683 + ln C + 64^2 / (2 * 512); InsightFace's log of ms1mv2 shows 46.71 at step 20.
        pytest.param(LossSpec(), 85_742, 30.683 + 11.359 + 4, id="arcface on ms1mv2"),
        pytest.param(LossSpec(), 10**7, 30.683 + 16.118 + 4, id="very many classes"),
        pytest.param(LossSpec(type="cosface", margin=0.4), 205_990, 25.6 + 12.236 + 4, id="cosface on wf4m"),
        pytest.param(LossSpec(type="combined", m1=1.0, m2=0.5, m3=0.0), 85_742, 46.042, id="combined as arcface"),
        pytest.param(LossSpec(type="combined", m1=1.0, m2=0.0, m3=0.4), 205_990, 41.836, id="combined as cosface"),
    ],
)
def test_over_many_classes_it_is_margin_and_logarithm_and_half_the_variance(loss, classes, expected):
    assert expected_initial_loss(loss, classes, 512, 1024) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("m1", "cost"),
    [
        pytest.param(1.5, 10 * (math.sin(0.75 * math.pi + 0.1 - math.pi / 2) + 0.2), id="before it turns"),
        # cos(2 * angle + 0.1) is lowest at (pi - 0.1) / 2, just before a right angle, and goes on by the cosine.
        pytest.param(2.0, 10 * (1 + math.sin(0.05) + 0.2), id="in a straight line"),
    ],
)
def test_a_margin_on_the_factor_of_the_angle(m1, cost):
    loss = LossSpec(type="combined", scale=10.0, m1=m1, m2=0.1, m3=0.2)
    assert expected_initial_loss(loss, 10**6, 128, 1024) == pytest.approx(cost + 13.8155 + 100 / 256, abs=0.01)


def drawn(loss, dimension, classes, draws):
    """Mean and standard error of the loss of normal cosines, ArcFace's margin to first order at a right angle.

    An image is compared with its own class and with another one at the rate of the loss, up to its filter.
    """
    random = np.random.default_rng(classes)
    losses = []
    for _ in range(draws):
        logits = loss.scale * random.normal(size=(200, classes)) / np.sqrt(dimension)
        own = np.cos(loss.margin) * logits[:, 0] - loss.scale * np.sin(loss.margin)
        logits[random.random(logits.shape) >= loss.sample_rate] = -np.inf
        if loss.interclass_filter is not None:
            logits[logits > loss.scale * loss.interclass_filter] = -np.inf
        logits[:, 0] = own
        peaks = logits.max(axis=1)
        losses.append((np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks - own).mean())
    return np.mean(losses), np.std(losses) / np.sqrt(draws)


@pytest.mark.parametrize(
    ("scale", "margin", "dimension", "classes"),
    [
        (64.0, 0.5, 32, 20),
        (64.0, 0.5, 128, 400),
        (64.0, 0.5, 8, 10),
        (64.0, 0.5, 16, 1000),
        (64.0, 0.0, 32, 2),
        (32.0, 0.3, 128, 955),
        (16.0, 0.2, 16, 4),
        (1.0, 0.5, 4096, 2),
    ],
)
def test_over_few_classes_it_is_the_mean_of_drawn_losses(scale, margin, dimension, classes):
    loss = LossSpec(scale=scale, margin=margin)
    mean, error = drawn(loss, dimension, classes, draws=100)
    expected = expected_initial_loss(loss, classes, dimension, 1024)
    assert abs(expected - mean) <= 0.005 + 4 * error


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(LossSpec(sample_rate=0.3), id="sampling"),
        pytest.param(LossSpec(interclass_filter=0.1), id="filter"),
        pytest.param(LossSpec(sample_rate=0.3, interclass_filter=0.2), id="both"),
    ],
)
def test_classes_that_are_not_drawn_or_left_out_do_not_count(loss):
    """One image: its own class is the only one that the batch keeps."""
    mean, error = drawn(loss, 128, 1000, draws=100)
    expected = expected_initial_loss(loss, 1000, 128, 1)
    assert abs(expected - mean) <= 0.01 + 4 * error
    assert expected < expected_initial_loss(LossSpec(), 1000, 128, 1) - 0.1


@pytest.mark.parametrize(("scale", "dimension", "classes"), [(64.0, 512, 10**8), (1024.0, 8, 2), (1e-3, 4096, 2)])
def test_it_takes_no_time(scale, dimension, classes):
    started = time.process_time()
    expected_initial_loss(LossSpec(scale=scale), classes, dimension, 1024)
    assert time.process_time() - started < 0.5
