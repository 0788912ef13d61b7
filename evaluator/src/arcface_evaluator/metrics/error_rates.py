"""False match and false non-match rates over all thresholds: ROC, DET, area, equal error rate; and at given ones.

Genuine pairs are few where impostors are many (19,557 beside 15.6 million in IJB-C), and between two genuine scores
nothing but the false match rate changes: counting the impostors beyond each genuine score gives the curve's corners,
and with them all of it, without sorting the impostors.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.cpu_affinity import thread_count
from arcface_api.errors import InvalidInput
from arcface_faces.scores import Numbers, Scores

POINTS = 400
"""Of a curve that is drawn; a screen shows no more."""
BLOCK = 1 << 18
"""Pairs that a thread counts at once."""
CELLS_A_LEVEL, MOST_CELLS = 16, 1 << 18
"""That the scores' range is divided into, for each genuine score and in all; counters for more would leave caches."""


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Corners of the polygon that the rates run along, from (0, 0) to (1, 1), by falling thresholds.

    As false accepts and true accepts it is the ROC; `fnmr` beside `fmr` is the DET curve.
    """

    fmr: NDArray[np.float64]
    """False match rate, the same as the false accept rate."""
    tpr: NDArray[np.float64]
    """True accept rate."""
    thresholds: NDArray[np.float64]
    """Score from which on pairs are accepted; just above it where the next corner has the same one."""
    genuine: int
    impostors: int

    @property
    def fnmr(self) -> NDArray[np.float64]:
        """False non-match rate."""
        return 1 - self.tpr

    @property
    def false_accepts(self) -> NDArray[np.int64]:
        """Impostors that are accepted."""
        return np.asarray(np.rint(self.fmr * self.impostors), np.int64)

    @property
    def true_accepts(self) -> NDArray[np.int64]:
        """Genuine pairs that are accepted."""
        return np.asarray(np.rint(self.tpr * self.genuine), np.int64)

    @property
    def auc(self) -> float:
        """Area under the ROC: how often a genuine pair scores higher than an impostor, equal scores counting half."""
        return float(np.sum(np.diff(self.fmr) * (self.tpr[1:] + self.tpr[:-1])) / 2)

    @property
    def eer(self) -> float:
        """Equal error rate: where the polygon crosses fmr = fnmr, interpolated between its corners."""
        after, share = self._crossing()
        return float(self.fmr[after - 1] + share * (self.fmr[after] - self.fmr[after - 1]))

    @property
    def eer_threshold(self) -> float:
        """Score from which on pairs are accepted at the corner that ends the crossing; finite."""
        return float(self.thresholds[self._crossing()[0]])

    @property
    def best_accuracy(self) -> float:
        """Largest share of all pairs that one threshold judges rightly."""
        right = self.tpr * self.genuine + (1 - self.fmr) * self.impostors
        return float(right.max()) / (self.genuine + self.impostors)

    def _crossing(self) -> tuple[int, float]:
        """The corner at which false matches have caught up, and how far on the way to it that happens, 0 to 1."""
        excess = self.fmr - self.fnmr
        after = int(np.argmax(excess >= 0))
        return after, float(-excess[after - 1] / (excess[after] - excess[after - 1]))

    def points_to_draw(self) -> NDArray[np.int64]:
        """Indices of about POINTS corners, evenly spread on a logarithmic axis; the last of equal rates is highest."""
        rising = self.fmr[self.fmr > 0]
        places = np.searchsorted(self.fmr, np.geomspace(rising[0], 1, POINTS), side="right") - 1
        last_of_zero = int(np.searchsorted(self.fmr, 0.0, side="right")) - 1
        return np.asarray(np.unique(np.concatenate([[last_of_zero], places, [len(self.fmr) - 1]])), np.int64)


def error_curve(scores: Scores) -> ErrorCurve:
    """The whole curve; InvalidInput where all pairs are of one kind."""
    levels, counts = np.unique(scores.genuine, return_counts=True)
    genuine, impostors = int(counts.sum()), int(np.count_nonzero(~scores.is_same))
    if not genuine or not impostors:
        raise InvalidInput(f"{genuine} pairs of one person and {impostors} of two: a curve needs both")
    below, equal = _impostors_by_level(scores, levels)
    # Falling: for each level the corner before it is accepted, and the one after.
    above = (impostors - below - equal)[::-1]
    accepted = np.cumsum(counts[::-1])
    false_accepts = np.stack([above, above + equal[::-1]], axis=1).ravel()
    true_accepts = np.stack([accepted - counts[::-1], accepted], axis=1).ravel()
    return ErrorCurve(
        np.concatenate([[0.0], false_accepts / impostors, [1.0]]),
        np.concatenate([[0.0], true_accepts / genuine, [1.0]]),
        np.concatenate([[np.inf], np.repeat(levels[::-1], 2), [min(float(scores.score.min()), float(levels[0]))]]),
        genuine,
        impostors,
    )


def rates_at(scores: Scores, thresholds: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False match and false non-match rate where pairs are accepted from each threshold on; NaN without such pairs."""
    genuine = np.sort(scores.genuine)
    accepted = [np.count_nonzero((scores.score >= threshold) & ~scores.is_same) for threshold in thresholds]
    with np.errstate(invalid="ignore"):
        fnmr = np.searchsorted(genuine, thresholds, side="left") / np.float64(len(genuine))
        fmr = np.array(accepted, np.float64) / np.float64(len(scores) - len(genuine))
    return fmr, fnmr


@dataclass(frozen=True, slots=True)
class _Grid:
    """Equal cells over the range of all scores. Rounding keeps the order: no score lies in a cell below a lower one's.

    Nearly all impostors lie in cells without a level, where counting cells does; the others are looked up.
    """

    count: int
    lowest: float
    cells_per_score: float
    """Zero where the range is too narrow, or too wide, to be divided: then only one cell is used."""

    @classmethod
    def over(cls, scores: Numbers, levels: int) -> "_Grid":
        """The cells of these scores, of which so many levels are told apart."""
        count = min(CELLS_A_LEVEL * levels, MOST_CELLS)
        lowest, highest = float(scores.min()), float(scores.max())
        density = (count - 1) / (highest - lowest) if lowest < highest else 0.0
        return cls(count, lowest, density if np.isfinite(density) else 0.0)

    def cells(self, scores: Numbers) -> NDArray[np.intp]:
        """The cell of each."""
        if not self.cells_per_score:
            return np.zeros(len(scores), np.intp)
        places = np.subtract(scores, self.lowest, dtype=np.float64)
        places *= self.cells_per_score
        return places.astype(np.intp)


def _impostors_by_level(scores: Scores, levels: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many impostors score below each of the rising levels, and how many just that."""
    grid = _Grid.over(scores.score, len(levels))
    level_cells, has_level = grid.cells(levels), np.zeros(grid.count, np.bool_)
    has_level[level_cells] = True

    def count(part: slice) -> tuple[NDArray[np.int64], ...]:
        cells = grid.cells(scores.score[part])
        unclear = scores.score[part][has_level[cells] & ~scores.is_same[part]]
        places = np.searchsorted(levels, unclear, side="left")
        is_equal = levels[np.minimum(places, len(levels) - 1)] == unclear
        return (
            np.bincount(cells, minlength=grid.count),
            np.bincount(places, minlength=len(levels) + 1),
            np.bincount(places[is_equal], minlength=len(levels)),
        )

    sums = np.zeros(grid.count, np.int64), np.zeros(len(levels) + 1, np.int64), np.zeros(len(levels), np.int64)
    with ThreadPoolExecutor(thread_count(), thread_name_prefix="count") as pool:
        for counts in pool.map(count, _parts(len(scores))):
            for total, found in zip(sums, counts, strict=True):
                np.add(total, found, out=total)
    in_cells, below, equal = sums
    in_cells[has_level] = 0  # with all genuine pairs
    # An impostor's place is the first level that it does not exceed; a clear one's cell is below those of such levels.
    return np.cumsum(in_cells)[level_cells] + np.cumsum(below)[:-1] - equal, equal


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, length, BLOCK))
