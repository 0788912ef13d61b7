"""1:N identification: each probe is looked for among all who are enrolled in a gallery. Needs NumPy only.

As in NIST's tests (FRTE 1:N) a search is mated where the probe's subject is enrolled, and non-mated elsewhere:

    rank          1 for a mate that scores above everybody else; of several mates the best one counts
    CMC           share of the mated searches whose rank is at most 1, 5, 10
    FPIR(t)       share of the non-mated searches in which anybody scores above t
    TPIR(t)       share of the mated searches in which the mate scores above t: 1 - FNIR(N, t)

The threshold is the lowest one with a FPIR of at most the target. Whoever scores as much as the mate stands before it,
so that a network that tells nobody apart finds nobody.

InsightFace's `ijb_1n.py` puts both galleries into one, in which every probe has a mate; its threshold for a rate f is
the ceil(f x probes)-th highest of all scores of two persons, and a mate must score above it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_faces.scores import Scores, Subjects

CELLS = 1 << 22
"""Scores that are held at once."""
DECIMALS = 12
"""Of a score: what only the order of a sum's terms makes differ is equal."""
NOBODY = -1
"""Subject of a distractor, which is nobody's mate."""
RANKS = (1, 5, 10)
FPIRS = (0.1, 0.01)


@dataclass(frozen=True, slots=True)
class Gallery:
    """Those who are enrolled."""

    vectors: NDArray[np.float64]
    """(G, D) unit vectors of their templates; a subject may have several."""
    subjects: NDArray[np.int64]
    """(G,) whose template each is, NOBODY's that of a distractor."""


@dataclass(frozen=True, slots=True)
class Searches:
    """What each probe (P,) has met in a gallery."""

    mate: NDArray[np.float64]
    """Score of the best mate; -inf where there is none."""
    other: NDArray[np.float64]
    """Highest score of anybody else."""
    rank: NDArray[np.int64]
    """Rank of the best mate; 0 where there is none."""
    top_others: NDArray[np.float64]
    """(K,) the highest scores of two persons over all probes, falling: as many as the largest of FPIRS asks for."""
    has_single_mates: bool
    """Whether every probe has one mate and no more."""
    subjects: NDArray[np.int64]
    """Who the probes are."""

    @property
    def is_mated(self) -> NDArray[np.bool_]:
        """(P,) whether the probe's subject is enrolled."""
        return self.rank > 0

    @property
    def scores(self) -> Scores:
        """A search as a pair of the probe: genuine with its mate, or an impostor with the best candidate.

        Its false and true accept rates are FPIR and TPIR; searches for one person depend on one another.
        """
        probes = np.arange(len(self.rank), dtype=np.int32)
        person = np.unique(self.subjects, return_inverse=True)[1].astype(np.int32)
        score = np.where(self.is_mated, self.mate, self.other)
        return Scores(score, self.is_mated, subjects=Subjects(probes, probes, person))


def search(gallery: Gallery, probes_PD: NDArray[np.float64], subjects: NDArray[np.int64]) -> Searches:
    """Look for every probe.

    Args:
        gallery: those who are enrolled, at least one.
        probes_PD: unit vectors.
        subjects: (P,) who the probes are.
    """
    wanted = math.ceil(max(FPIRS) * len(subjects))
    mate, other, rank, mates = [], [], [], []
    top_others = np.empty(0)
    rows = max(1, CELLS // len(gallery.subjects))
    for start in range(0, len(subjects), rows):
        block = slice(start, start + rows)
        scores = np.round(probes_PD[block] @ gallery.vectors.T, DECIMALS)
        is_mate = gallery.subjects == subjects[block, None]
        mates.append(np.count_nonzero(is_mate, axis=1))
        mate.append(np.max(scores, axis=1, where=is_mate, initial=-np.inf))
        scores[is_mate] = -np.inf
        other.append(scores.max(axis=1))
        rank.append(1 + np.count_nonzero(scores >= mate[-1][:, None], axis=1))
        top_others = _highest(np.concatenate([top_others, _candidates(scores, top_others, wanted)]), wanted)
    has_mate = np.concatenate(mates) > 0
    return Searches(
        mate=np.concatenate(mate),
        other=np.concatenate(other),
        rank=np.where(has_mate, np.concatenate(rank), 0),
        top_others=top_others,
        has_single_mates=bool((np.concatenate(mates) == 1).all()),
        subjects=subjects,
    )


def _candidates(scores: NDArray[np.float64], top: NDArray[np.float64], wanted: int) -> NDArray[np.float64]:
    """Scores that may be among the highest ones, given those that were found before; mates are -inf."""
    return scores[scores > (top[-1] if len(top) == wanted else -np.inf)]


def _highest(scores: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The highest scores, falling."""
    if len(scores) > count:
        scores = np.partition(scores, len(scores) - count)[len(scores) - count :]
    return np.sort(scores)[::-1]


def cumulative_matches(searches: Searches) -> dict[int, float] | None:
    """Share of the mated searches whose mate is among the first 1, 5, 10; None where no search is mated."""
    ranks = searches.rank[searches.is_mated]
    return {rank: float(np.mean(ranks <= rank)) for rank in RANKS} if len(ranks) else None


def reference_rates(searches: Searches, rates: Sequence[float] = FPIRS) -> dict[float, float] | None:
    """Share of the probes whose mate is above the threshold of `ijb_1n.py`; None where a probe has not one mate."""
    if not searches.has_single_mates:
        return None
    places = {rate: math.ceil(rate * len(searches.mate)) - 1 for rate in rates}
    return {
        rate: float(np.mean(searches.mate > searches.top_others[place]))
        for rate, place in places.items()
        if place < len(searches.top_others)
    }
