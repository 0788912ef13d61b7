"""True accept rates at false accept rates, and how far figures may be from the truth. Needs NumPy only.

The reference (`eval_ijbc.py` of InsightFace) reports the rate of the point whose false accept rate is nearest to the
target, which may lie above it; the conservative figure beside it is the largest rate with a false accept rate of at
most the target. A point stands for each distinct score; scikit-learn, which the reference calls, leaves out points on
straight parts of the curve, which moves the nearest figure where impostors are few.

Intervals tell the luck of the draw: 95 % by bootstrap (Efron, 1979), thresholds held at what was chosen. Accuracy: the
pairs of each fold are drawn anew. TAR at FAR: the persons are drawn anew, each with all comparisons of its templates,
which are not independent of one another; who is one person follows from the genuine pairs, whose templates are linked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MARGIN = 1.02
"""Of the impostors that the largest target needs, so that points on both sides of it are there."""

POINTS = 400
"""Of a curve that is drawn; a screen shows no more."""
SAMPLE, SAMPLE_MARGIN = 100_000, 0.01
"""Impostors that a bound is guessed from, and the share that is added: ten standard errors of a tenth."""

Scores = NDArray[np.floating[Any]]
DRAWS = 2000
LEVEL = (0.025, 0.975)
SEED = 0
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Roc:
    """The part of a curve with the highest scores, in the order of falling thresholds; the first point is (0, 0)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Scores from which on a pair is accepted; the first is infinite."""
    impostors: int


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """Rates at one false accept rate; None where there are too few impostors to tell."""

    far: float
    nearest: float | None
    conservative: float | None
    threshold: float | None = None
    """Score from which on pairs are accepted at the nearest point; infinite where none is."""


def tar_at_far(scores: Scores, is_same: NDArray[np.bool_], fars: Sequence[float] = FARS) -> list[TarAtFar]:
    """Both rates at each false accept rate.

    Args:
        scores: (P,), the higher the more alike.
        is_same: (P,), whether the pair is of one person.
        fars: targets.
    """
    roc = curve_up_to(scores, is_same, max(fars))
    return [_rates_at(roc, far) for far in fars]


def _rates_at(roc: Roc, far: float) -> TarAtFar:
    """Both rates at one target."""
    if far * roc.impostors < 1:
        return TarAtFar(far, None, None)
    # The reference walks from the right: of equally near points it takes the one with the higher rates.
    nearest = np.flatnonzero(_distances(roc, far) == _distances(roc, far).min())[-1]
    last_within = int(np.searchsorted(roc.fpr, far, side="right")) - 1
    return TarAtFar(far, float(roc.tpr[nearest]), float(roc.tpr[last_within]), float(roc.thresholds[nearest]))


def curve_up_to(scores: Scores, is_same: NDArray[np.bool_], far: float) -> Roc:
    """The curve from (0, 0) to beyond a false accept rate; only the scores up there are sorted."""
    genuine, impostors = scores[is_same], scores[~is_same]
    if not len(genuine) or not len(impostors):
        raise InvalidInput(f"{len(genuine)} pairs of one person and {len(impostors)} of two: a curve needs both")
    wanted = int(far * len(impostors) * MARGIN) + 2
    while True:
        is_whole = wanted >= len(impostors)
        bound = -np.inf if is_whole else _bound(impostors, wanted)
        roc = _curve(genuine, impostors, bound)
        if is_whole or roc.fpr[-1] - far > _distances(roc, far)[:-1].min():
            return roc
        wanted *= 4  # many impostors of one score


def points_to_draw(fpr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of about POINTS points, evenly spread on a logarithmic axis; the last of equal rates is the highest."""
    rising = fpr[fpr > 0]
    if not len(rising):
        return np.arange(len(fpr))
    wanted = np.geomspace(rising[0], 1, POINTS)
    places = np.searchsorted(fpr, wanted, side="right") - 1
    last_of_zero = int(np.searchsorted(fpr, 0.0, side="right")) - 1
    return np.asarray(np.unique(np.concatenate([[last_of_zero], places, [len(fpr) - 1]])), np.int64)


def _bound(impostors: Scores, wanted: int) -> float:
    """A score that at least `wanted` impostors reach, and not many more: guessed from a sample, else selected."""
    sample = np.sort(impostors[:: max(1, len(impostors) // SAMPLE)])
    share = wanted / len(impostors) + SAMPLE_MARGIN
    if share < 1:
        guess = float(sample[int((1 - share) * len(sample))])
        if np.count_nonzero(impostors >= guess) >= wanted:
            return guess
    return float(np.partition(impostors, len(impostors) - wanted)[len(impostors) - wanted])


def _distances(roc: Roc, far: float) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.abs(roc.fpr - far)
    return distances


def _curve(genuine: Scores, impostors: Scores, bound: float) -> Roc:
    genuine_above = np.sort(genuine[genuine >= bound])
    falling = np.sort(np.concatenate([genuine_above, impostors[impostors >= bound]]))[::-1]
    # Equal scores are accepted together.
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    accepted_genuine = len(genuine_above) - np.searchsorted(genuine_above, falling[ends], side="left")
    accepted_impostors = ends + 1 - accepted_genuine
    return Roc(
        fpr=np.concatenate([[0.0], accepted_impostors / len(impostors)]),
        tpr=np.concatenate([[0.0], accepted_genuine / len(genuine)]),
        thresholds=np.concatenate([[np.inf], falling[ends]]),
        impostors=len(impostors),
    )


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
