"""All images against all others: TAR at low FAR without the matrix of all scores. Needs NumPy only.

As in InsightFace's challenge (ICCV 2021, MFR) every pair of images is compared and those of one label are genuine. The
threshold is the lowest one whose false accept rate does not exceed the target.

Products of blocks in float32 find the impostors that may be among the highest: such a product is off by at most a
margin that is known, and whoever comes within twice that margin of the highest ones is kept. These are scored again in
float64, one pair after the other, so that the threshold is that of float64; genuine pairs are scored so too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_evaluator.protocols.identification import DECIMALS
from arcface_faces.embedding.vectors import Embeddings, nonzero_norms

FARS = (1e-6, 1e-5, 1e-4)
ROWS, COLUMNS = 1024, 2048
"""Of a block of products."""
FETCHED = 4096
"""Pairs whose vectors are held at once."""
SPARE = 1 << 22
"""Impostors that are held beyond those that the largest target needs."""
UNIT_ROUNDOFF = 2.0**-24
"""Of float32."""

Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class FarRate:
    """The true accept rate at one false accept rate; None where there are too few impostors to tell."""

    far: float
    tar: float | None
    threshold: float | None
    """A pair is accepted where it scores above it."""


@dataclass(frozen=True, slots=True)
class AllPairs:
    """What comparing all with all has shown."""

    images: int
    labels: int
    genuine: int
    """Pairs of one label."""
    impostors: int
    """Pairs of two labels."""
    rates: list[FarRate]

    @property
    def fault(self) -> str | None:
        """Why rates cannot be told, if that is so."""
        if self.genuine and self.impostors:
            return None
        return f"{self.genuine} pairs of images have one label and {self.impostors} two: there must be both"


class UnitVectors:
    """Embeddings of images, their views added and scaled to unit length; zeros stay zeros."""

    def __init__(self, embeddings_NVD: Embeddings) -> None:
        self.embeddings_NVD = embeddings_NVD
        self.rounded_ND = np.empty((len(embeddings_NVD), embeddings_NVD.shape[2]), np.float32)
        """In float32."""
        for start in range(0, len(embeddings_NVD), FETCHED):
            part = slice(start, start + FETCHED)
            self.rounded_ND[part] = self.exact(part)

    def exact(self, images: slice | Numbers) -> NDArray[np.float64]:
        """Those of some images in float64."""
        sums = np.add.reduce(self.embeddings_NVD[images], axis=1, dtype=np.float64)
        units: NDArray[np.float64] = sums / nonzero_norms(sums)[:, None]
        return units

    def scores(self, first: Numbers, second: Numbers) -> NDArray[np.float64]:
        """(P,) scores of pairs."""
        parts = [slice(start, start + FETCHED) for start in range(0, len(first), FETCHED)]
        found = [np.einsum("pd,pd->p", self.exact(first[part]), self.exact(second[part])) for part in parts]
        scores: NDArray[np.float64] = np.round(np.concatenate([np.empty(0), *found]), DECIMALS)
        return scores

    @property
    def margin(self) -> float:
        """By how much a product of two rounded vectors may differ from their score (Higham 2002, section 3.1).

        Each of the D terms is rounded at most D times, and both vectors have been rounded before.
        """
        return 1.01 * (self.rounded_ND.shape[1] + 2) * UNIT_ROUNDOFF


class _Highest:
    """The pairs with the highest float32 scores, and all that may yet be among them."""

    def __init__(self, wanted: int, margin: float) -> None:
        self.wanted, self.margin = wanted, margin
        self.bound = np.float32(-np.inf)
        """A pair with less is not among them."""
        self.parts: list[tuple[NDArray[np.float32], Numbers, Numbers]] = []
        self.held, self.limit = 0, 2 * wanted

    def add(self, scores: NDArray[np.float32], first: Numbers, second: Numbers) -> None:
        """Some more pairs; InvalidInput where too many score alike."""
        if len(scores):
            self.parts.append((scores, first, second))
            self.held += len(scores)
        if self.held > self.limit:
            self._drop()

    def pairs(self) -> tuple[Numbers, Numbers]:
        """First and second images of all that are held."""
        _, first, second = self._joined()
        return first, second

    def _joined(self) -> tuple[NDArray[np.float32], Numbers, Numbers]:
        scores, first, second = zip(*self.parts, strict=True)
        return np.concatenate(scores), np.concatenate(first), np.concatenate(second)

    def _drop(self) -> None:
        scores, first, second = self._joined()
        last = len(scores) - self.wanted
        lowest = np.partition(scores, last)[last]
        # Rounded down: a comparison with float32 takes the bound as float32.
        self.bound = np.nextafter(np.float32(lowest - 2 * self.margin), np.float32(-np.inf))
        keep = scores >= self.bound
        self.parts, self.held = [(scores[keep], first[keep], second[keep])], int(np.count_nonzero(keep))
        self.limit = 2 * self.held
        if self.held > self.wanted + SPARE:
            raise InvalidInput(
                f"more than {SPARE} pairs of two labels score {lowest:.6f} or nearly so: the embeddings hardly differ; "
                "take another checkpoint or model"
            )


def count_pairs(labels: NDArray[np.int64], fars: Sequence[float] = FARS) -> AllPairs:
    """What labels (N,) alone tell; the rates are unknown."""
    sizes, images = np.unique(labels, return_counts=True)[1], len(labels)
    genuine = int((sizes * (sizes - 1) // 2).sum())
    unknown = [FarRate(far, None, None) for far in fars]
    return AllPairs(images, len(sizes), genuine, images * (images - 1) // 2 - genuine, unknown)


def compare_all(embeddings_NVD: Embeddings, labels: NDArray[np.int64], fars: Sequence[float] = FARS) -> AllPairs:
    """Rates over all pairs of different images.

    Args:
        embeddings_NVD: N images in V = 1 or 2 views, which may be mapped from a file.
        labels: (N,) who each image shows.
        fars: false accept rates; memory grows by 24 bytes for each impostor that the largest one allows.

    Raises:
        InvalidInput: where there is no pair of one label, or none of two, or where embeddings hardly differ.
    """
    counted = count_pairs(labels, fars)
    if counted.fault is not None:
        raise InvalidInput(counted.fault)
    units = UnitVectors(embeddings_NVD)
    falling = _highest_impostors(units, labels, int(max(fars) * counted.impostors) + 2)
    thresholds = [_threshold(falling, far, counted.impostors) for far in fars]
    told = [threshold for threshold in thresholds if threshold is not None]
    accepted = iter(_count_genuine(units, labels, told) / counted.genuine)
    rates = [
        FarRate(far, None if threshold is None else float(next(accepted)), threshold)
        for far, threshold in zip(fars, thresholds, strict=True)
    ]
    return replace(counted, rates=rates)


def _threshold(falling: NDArray[np.float64], far: float, impostors: int) -> float | None:
    """The lowest one above which at most a share of the impostors is."""
    allowed = int(np.searchsorted(np.arange(1, len(falling) + 1) / impostors, far, side="right"))
    return float(falling[allowed]) if allowed else None


def _highest_impostors(units: UnitVectors, labels: NDArray[np.int64], wanted: int) -> NDArray[np.float64]:
    """The scores of the highest impostors, falling: as many as are wanted, or all that there are."""
    highest = _Highest(wanted, units.margin)
    for rows, columns in _blocks(len(labels)):
        products = units.rounded_ND[rows] @ units.rounded_ND[columns].T
        row, column = np.divmod(np.flatnonzero(products >= highest.bound), products.shape[1])
        first, second = (row + rows.start).astype(np.int32), (column + columns.start).astype(np.int32)
        is_new = (first < second) & (labels[first] != labels[second])
        highest.add(products[row[is_new], column[is_new]], first[is_new], second[is_new])
    return np.sort(units.scores(*highest.pairs()))[::-1][:wanted]


def _blocks(images: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that hold every pair whose first image comes before its second, and some others."""
    for start in range(0, images, ROWS):
        for column in range(start, images, COLUMNS):
            yield slice(start, min(start + ROWS, images)), slice(column, min(column + COLUMNS, images))


def _count_genuine(units: UnitVectors, labels: NDArray[np.int64], thresholds: Sequence[float]) -> NDArray[np.int64]:
    """How many pairs of one label score above each threshold."""
    accepted = np.zeros(len(thresholds), np.int64)
    for first, second in _genuine_pairs(labels):
        scores = units.scores(first, second)
        accepted += np.array([np.count_nonzero(scores > threshold) for threshold in thresholds], np.int64)
    return accepted


def _genuine_pairs(labels: NDArray[np.int64]) -> Iterator[tuple[Numbers, Numbers]]:
    """All pairs of images of one label, FETCHED at a time."""
    order = np.argsort(labels, kind="stable").astype(np.int32)
    ends = np.searchsorted(labels[order], labels[order], side="right")
    # An image is the first one of a pair with each later one of its label.
    begins = np.concatenate([[0], np.cumsum(ends - np.arange(1, len(labels) + 1))])
    for start in range(0, int(begins[-1]), FETCHED):
        pairs = np.arange(start, min(start + FETCHED, begins[-1]))
        row = np.searchsorted(begins, pairs, side="right") - 1
        yield order[row], order[row + 1 + pairs - begins[row]]
