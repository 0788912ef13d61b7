"""How far figures may be from the truth: 95 % by bootstrap (Efron, 1979), thresholds held at what was chosen.

Accuracy: the pairs of each fold are drawn anew. TAR at FAR: the persons are drawn anew, each with all comparisons of
its templates, which are not independent of one another; who is one person follows from the genuine pairs, whose
templates are linked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = (0.025, 0.975)
SEED = 0
Interval = tuple[float, float]


def accuracy_interval(accuracies: NDArray[np.float64], sizes: NDArray[np.int64]) -> Interval:
    """Interval of the mean over the folds, whose accuracies and numbers of pairs are given."""
    drawn = np.random.default_rng(SEED).binomial(sizes, accuracies, (DRAWS, len(sizes))) / sizes
    return _bounds(drawn.mean(axis=1))


def tar_intervals(
    scores: NDArray[np.float64], first: NDArray[np.int32], second: NDArray[np.int32], thresholds: Sequence[float]
) -> list[Interval]:
    """Interval of the share of genuine pairs that score at least each threshold.

    Args:
        scores: (G,) of the genuine pairs alone.
        first: (G,) template of each.
        second: (G,) the other one.
        thresholds: scores from which on a pair is accepted.
    """
    person = persons(first, second)
    count = int(person.max()) + 1
    random = np.random.default_rng(SEED)
    # (DRAWS, persons): how often each is drawn; small integers, since there may be thousands of persons.
    drawn = random.multinomial(count, np.full(count, 1 / count), DRAWS).astype(np.float32)
    totals = drawn @ np.bincount(person, minlength=count).astype(np.float32)
    intervals = []
    for threshold in thresholds:
        hits = np.bincount(person, weights=scores >= threshold, minlength=count).astype(np.float32)
        intervals.append(_bounds(drawn @ hits / np.maximum(totals, 1)))
    return intervals


def persons(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int64]:
    """(G,) which person each genuine pair is of, counted from 0: templates linked by pairs are one person's."""
    templates, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = places[: len(first)], places[len(first) :]
    label = np.arange(len(templates))
    while True:
        least = np.minimum(label[one], label[other])
        lowered = label.copy()
        np.minimum.at(lowered, one, least)
        np.minimum.at(lowered, other, least)
        lowered = lowered[lowered]
        if (lowered == label).all():
            break
        label = lowered
    return np.asarray(np.unique(label[one], return_inverse=True)[1], np.int64)


def _bounds(figures: NDArray[np.floating[Any]]) -> Interval:
    low, high = np.quantile(figures, LEVEL)
    return float(low), float(high)
