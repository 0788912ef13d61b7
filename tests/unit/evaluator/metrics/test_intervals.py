"""Bootstrap intervals against the closed forms that they must come near to."""

import numpy as np
import pytest

from arcface_evaluator.metrics.intervals import accuracy_interval, persons, tar_intervals
from arcface_faces.pairs.protocol import fold_sizes


def folds(accuracy):
    return np.full(10, accuracy)


def test_an_accuracy_without_errors_has_no_width():
    assert accuracy_interval(folds(1.0), fold_sizes(600)) == (1.0, 1.0)


@pytest.mark.parametrize("pairs", [600, 6000])
def test_an_accuracy_is_as_sure_as_its_pairs_are_many(pairs):
    low, high = accuracy_interval(folds(0.9), fold_sizes(pairs))
    half = 1.96 * np.sqrt(0.9 * 0.1 / pairs)  # normal approximation of the binomial
    assert (low, high) == (pytest.approx(0.9 - half, abs=half / 8), pytest.approx(0.9 + half, abs=half / 8))


def test_folds_have_the_sizes_of_contiguous_splits():
    for pairs in (10, 17, 600, 6009):
        assert fold_sizes(pairs).tolist() == [len(part) for part in np.array_split(np.arange(pairs), 10)]


def test_templates_that_are_linked_are_one_person():
    first = np.array([5, 6, 1, 8, 20, 7], np.int32)
    second = np.array([6, 7, 2, 9, 20, 5], np.int32)
    found = persons(first, second)
    assert found[0] == found[1] == found[5]
    assert len({found[0], found[2], found[3], found[4]}) == 4
    assert set(found.tolist()) == {0, 1, 2, 3}


def test_a_long_chain_of_templates_is_one_person():
    order = np.random.default_rng(0).permutation(1000).astype(np.int32)
    assert set(persons(order[:-1], order[1:]).tolist()) == {0}


def pairs_of(persons_count, pairs_each):
    """Each person's pairs share the person's first template."""
    first = np.repeat(np.arange(persons_count, dtype=np.int32) * 1000, pairs_each)
    second = first + np.tile(np.arange(1, pairs_each + 1, dtype=np.int32), persons_count)
    return first, second


def test_pairs_of_one_person_stand_or_fall_together():
    """Eighty persons of whom one in four is never recognised: 20 pairs each make nobody surer than one pair does."""
    recognised = np.arange(80) % 4 != 0
    half = 1.96 * np.sqrt(0.75 * 0.25 / 80)
    for each in (1, 20):
        scores = np.where(np.repeat(recognised, each), 0.9, 0.1)
        ((low, high),) = tar_intervals(scores, *pairs_of(80, each), [0.5])
        assert (low, high) == (pytest.approx(0.75 - half, abs=half / 6), pytest.approx(0.75 + half, abs=half / 6))


def test_thresholds_that_all_or_none_reach_have_no_width():
    scores = np.linspace(0.2, 0.8, 40)
    assert tar_intervals(scores, *pairs_of(40, 1), [0.1, np.inf]) == [(1.0, 1.0), (0.0, 0.0)]
