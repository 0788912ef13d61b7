"""Numbers of classes that a step compares with, against draws."""

import numpy as np
import pytest

from arcface_api.class_sampling import compared_classes, draw_capacity, row_capacity


@pytest.mark.parametrize(("classes", "rate"), [(10, 0.1), (1000, 0.3), (125_000, 0.1), (10**6, 0.01), (50, 0.99)])
def test_no_draw_exceeds_its_bound_and_the_bound_is_near(classes, rate):
    draws = np.random.default_rng(0).binomial(classes, rate, size=10**6)
    deviation = np.sqrt(classes * rate * (1 - rate))
    assert draws.max() <= draw_capacity(classes, rate) <= classes
    assert draw_capacity(classes, rate) <= classes * rate + 10 * deviation + 30


def test_all_classes_have_a_row_where_all_are_compared_with():
    assert row_capacity(1234, 1.0, 8) == 1234


def test_the_classes_of_a_whole_batch_have_a_row_besides():
    assert row_capacity(10**6, 0.1, 512) == draw_capacity(10**6, 0.1) + 512
    assert row_capacity(100, 0.01, 512) == 100


@pytest.mark.parametrize(("classes", "rate", "images"), [(1000, 0.3, 1), (1000, 0.1, 700), (40, 0.05, 400)])
def test_compared_classes_are_the_mean_of_draws_with_the_batch(classes, rate, images):
    random, counts = np.random.default_rng(0), []
    for _ in range(400):
        is_kept = random.random(classes) < rate
        is_kept[random.integers(0, classes, images)] = True
        counts.append(is_kept.sum())
    assert compared_classes(classes, rate, images) == pytest.approx(np.mean(counts), rel=0.02)


def test_an_image_is_compared_with_one_other_class_at_least():
    assert compared_classes(2, 1e-9, 1) == 2
