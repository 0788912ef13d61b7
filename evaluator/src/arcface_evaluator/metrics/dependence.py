"""How much less pairs that share persons tell than as many pairs of strangers do.

Comparisons with one person's images rise and fall together, so that a count over pairs varies more than a binomial one
of as many draws. The design effect (Kish, 1965) is the ratio of both variances, the true one estimated from all couples
of pairs that share a person (Fafchamps and Gubert, 2007): the squared excess of hits of each person, less that of each
two persons, which the sum over persons holds twice. Where nothing varies, pairs of one person count as fully dependent.

That hangs on whoever has most of the pairs: if they happen to be easy it says that nobody is hard. Where each pair is
of one person, how alike a person's pairs are (the intraclass correlation of Fleiss and Cuzick, 1979) is told by all
persons, and makes the effect by Kish's formula; the larger one is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_faces.scores import Scores, Subjects

BLOCK = 1 << 20
"""Pairs that are counted at once."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """The pairs of one kind, and how many of them touch each person; persons are None where they are not known."""

    members: NDArray[np.bool_]
    """(P,) which pairs are of this kind."""
    size: int
    subjects: Subjects | None
    touched: NDArray[np.int64]
    """(S,) pairs of this kind that show each person."""

    @classmethod
    def of(cls, scores: Scores, members: NDArray[np.bool_]) -> "Dependence":
        """Count the pairs of each person."""
        subjects, size = scores.subjects, int(np.count_nonzero(members))
        if subjects is None:
            return cls(members, size, None, np.zeros(0, np.int64))
        persons = int(subjects.subject.max(initial=-1)) + 1
        touched = np.zeros(persons, np.int64)
        for part in _parts(len(scores)):
            touched += _touches(subjects, part.start + np.flatnonzero(members[part]), persons)
        return cls(members, size, subjects, touched)

    def effective_size(self, is_hit: NDArray[np.bool_]) -> float:
        """Pairs of strangers that would tell as much of the share of hits (P,), which counts among the members only."""
        return self.size / self.design_effect(is_hit)

    def design_effect(self, is_hit: NDArray[np.bool_]) -> float:
        """At least 1."""
        if self.subjects is None or not self.size:
            return 1.0
        hits = int(np.count_nonzero(is_hit & self.members))
        if hits in {0, self.size}:
            return max(1.0, float(np.square(self.touched, dtype=np.float64).sum()) / self.size)
        # Both outcomes vary alike; the rarer one has fewer pairs to look at.
        rarer = np.flatnonzero(self.members & (is_hit if 2 * hits <= self.size else ~is_hit))
        share = len(rarer) / self.size
        found = _touches(self.subjects, rarer, len(self.touched))
        squares = float(np.square(found - share * self.touched).sum())
        variance = squares - (1 - share) * _squared_couples(self.subjects, rarer)
        effect = max(1.0, variance / (self.size * share * (1 - share)))
        return effect if int(self.touched.sum()) > self.size else max(effect, self._effect_by_likeness(found, share))

    def _effect_by_likeness(self, hits: NDArray[np.int64], share: float) -> float:
        """From the hits of each person (S,), of pairs of one person each.

        The correlation is raised as Student's tails are for as many persons as would tell as much had they equally many
        pairs, of whom the mean takes one.
        """
        pairs, hits = self.touched[self.touched > 0], hits[self.touched > 0]
        if len(pairs) == self.size:
            return 1.0
        persons = self.size**2 / float(np.square(pairs, dtype=np.float64).sum())
        within = float((hits * (1 - hits / pairs)).sum()) / ((self.size - len(pairs)) * share * (1 - share))
        correlation = min(1.0, max(0.0, 1 - within) * persons / max(persons - 3, 1))
        return 1 + (self.size / persons - 1) * correlation


def hits_by_person(subjects: Subjects, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S,) how many of the pairs show each person, in an order that the subjects alone decide."""
    persons = np.unique(subjects.subject)
    return _touches(subjects, pairs, int(persons.max(initial=-1)) + 1)[persons]


def _touches(subjects: Subjects, pairs: NDArray[np.int64], persons: int) -> NDArray[np.int64]:
    """(S,) how many of the pairs show each person, a genuine pair once."""
    one, other = subjects.subject[subjects.first[pairs]], subjects.subject[subjects.second[pairs]]
    twice = np.bincount(one[one == other], minlength=persons)  # few, unlike all others
    return np.bincount(one, minlength=persons) + np.bincount(other, minlength=persons) - twice


def _squared_couples(subjects: Subjects, pairs: NDArray[np.int64]) -> float:
    """Over all couples of different persons the sum of their squared numbers of pairs."""
    one, other = subjects.subject[subjects.first[pairs]], subjects.subject[subjects.second[pairs]]
    is_mixed = one != other
    low, high = np.minimum(one, other)[is_mixed].astype(np.int64), np.maximum(one, other)[is_mixed]
    counts = np.unique(low * (int(subjects.subject.max()) + 1) + high, return_counts=True)[1]
    return float(np.square(counts, dtype=np.float64).sum())


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, length, BLOCK))
