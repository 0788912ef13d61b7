"""True accept rates at false accept rates, by the three conventions that are in use.

The reference (`eval_ijbc.py` of InsightFace) reports the rate of the point of a curve whose false accept rate is
nearest to the target, which may lie above it. The curve that it sees is scikit-learn's `roc_curve`, whose
`drop_intermediate` leaves out points midway between two others. So there are

    nearest       on the whole curve, a point for each distinct score
    published     on the curve without intermediate points: the number that the published script prints
    conservative  the largest rate with a false accept rate of at most the target, as NIST reports it
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.scores import Numbers, Scores

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MARGIN = 1.02
"""Of the impostors that the largest target needs, so that points on both sides of it are there."""
SAMPLE, SAMPLE_MARGIN = 100_000, 0.01
"""Impostors that a bound is guessed from, and the share that is added: ten standard errors of a tenth."""


@dataclass(frozen=True, slots=True)
class Roc:
    """The part of a curve with the highest scores, in the order of falling thresholds; the first point is (0, 0)."""

    false_accepts: NDArray[np.int64]
    true_accepts: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    """Scores from which on a pair is accepted; the first is infinite."""
    impostors: int
    genuine: int

    @property
    def fpr(self) -> NDArray[np.float64]:
        """False accept rates."""
        return self.false_accepts / self.impostors

    @property
    def tpr(self) -> NDArray[np.float64]:
        """True accept rates."""
        return self.true_accepts / self.genuine

    @property
    def is_corner(self) -> NDArray[np.bool_]:
        """Which points `drop_intermediate` keeps: those that are not midway between their neighbours.

        The point at (0, 0) is added after dropping, so that the first real one and the last are always kept.
        """
        kept = np.ones(len(self.thresholds), np.bool_)
        turns = (np.diff(accepts[1:], 2) != 0 for accepts in (self.false_accepts, self.true_accepts))
        kept[2:-1] = np.logical_or(*turns)
        return kept


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """Rates at one false accept rate; None where there are too few impostors to tell."""

    far: float
    nearest: float | None
    conservative: float | None
    threshold: float | None = None
    """Score from which on pairs are accepted at the nearest point; infinite where none is."""
    published: float | None = None
    above: float | None = None
    """Score above which pairs are accepted at the conservative point."""


def far_name(far: float) -> str:
    """1e-6 for 0.000001, 2.5e-4 for 0.00025."""
    mantissa, _, exponent = f"{far:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def tar_at_far(scores: Scores, fars: Sequence[float] = FARS) -> list[TarAtFar]:
    """The rates at each false accept rate.

    Raises:
        InvalidInput: where all pairs are of one kind.
    """
    roc = upper_curve(scores, fars)
    fpr, tpr, kept = roc.fpr, roc.tpr, np.flatnonzero(roc.is_corner)
    rates = []
    for far in fars:
        if far * roc.impostors < 1:
            rates.append(TarAtFar(far, None, None))
            continue
        nearest, corner = _nearest(fpr, far), kept[_nearest(fpr[kept], far)]
        within = int(np.searchsorted(fpr, far, side="right")) - 1
        rates.append(
            TarAtFar(
                far,
                nearest=float(tpr[nearest]),
                conservative=float(tpr[within]),
                threshold=float(roc.thresholds[nearest]),
                published=float(tpr[corner]),
                above=float(roc.thresholds[within + 1]) if within + 1 < len(fpr) else -np.inf,
            )
        )
    return rates


def upper_curve(scores: Scores, fars: Sequence[float]) -> Roc:
    """The curve from (0, 0) to beyond all false accept rates; only the scores up there are sorted."""
    genuine, impostors = scores.genuine, scores.impostors
    if not len(genuine) or not len(impostors):
        raise InvalidInput(f"{len(genuine)} pairs of one person and {len(impostors)} of two: a curve needs both")
    wanted = int(max(fars) * len(impostors) * MARGIN) + 2
    while True:
        is_whole = wanted >= len(impostors)
        roc = _curve(genuine, impostors, -np.inf if is_whole else _bound(impostors, wanted))
        if is_whole or all(_is_beyond(roc, far) for far in fars):
            return roc
        wanted *= 4  # many impostors of one score, or a long straight part


def _is_beyond(roc: Roc, far: float) -> bool:
    """Whether no point that is left out can be nearer to a target; the last one may prove to be intermediate."""
    certain = roc.fpr[:-1][roc.is_corner[:-1]]
    return bool(roc.fpr[-1] - far > np.abs(certain - far).min())


def _nearest(fpr: NDArray[np.float64], far: float) -> int:
    """The reference walks from the right: of equally near points it takes the one with the higher rates."""
    distances = np.abs(fpr - far)
    return int(np.flatnonzero(distances == distances.min())[-1])


def _bound(impostors: Numbers, wanted: int) -> float:
    """A score that at least `wanted` impostors reach, and not many more: guessed from a sample, else selected."""
    sample = np.sort(impostors[:: max(1, len(impostors) // SAMPLE)])
    share = wanted / len(impostors) + SAMPLE_MARGIN
    if share < 1:
        guess = float(sample[int((1 - share) * len(sample))])
        if np.count_nonzero(impostors >= guess) >= wanted:
            return guess
    return float(np.partition(impostors, len(impostors) - wanted)[len(impostors) - wanted])


def _curve(genuine: Numbers, impostors: Numbers, bound: float) -> Roc:
    genuine_above = np.sort(genuine[genuine >= bound])
    falling = np.sort(np.concatenate([genuine_above, impostors[impostors >= bound]]))[::-1]
    # Equal scores are accepted together.
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    true_accepts = len(genuine_above) - np.searchsorted(genuine_above, falling[ends], side="left")
    return Roc(
        false_accepts=np.concatenate([[0], ends + 1 - true_accepts]),
        true_accepts=np.concatenate([[0], true_accepts]),
        thresholds=np.concatenate([[np.inf], falling[ends]]),
        impostors=len(impostors),
        genuine=len(genuine),
    )
