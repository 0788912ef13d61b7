"""Scores of pairs: the one value between the protocols that make them and all that is measured on them.

Pairs of images and of templates and searches in galleries end in it, and rates, curves, intervals and tests begin with
it; all-pairs, which are never held at once, have figures of their own. Needs NumPy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each pair, such as the country that its persons come from."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]
    """(P,) index into the names; below zero for a pair of none."""

    def __post_init__(self) -> None:
        """ValueError where a code has no name."""
        if len(self.codes) and int(self.codes.max()) >= len(self.names):
            raise ValueError(f"a pair is of group {int(self.codes.max())} of {len(self.names)}")


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom each side of a pair shows, so that comparisons that share a person are known to depend on one another."""

    first: NDArray[np.int32]
    """(P,) index of the first side, an image or a template, into `subject`."""
    second: NDArray[np.int32]
    """(P,) of the other side."""
    subject: NDArray[np.int32]
    """(T,) number of the person that an image or a template shows."""

    @classmethod
    def linked(cls, first: NDArray[np.int32], second: NDArray[np.int32], is_same: NDArray[np.bool_]) -> "Subjects":
        """What the genuine pairs tell: sides that they link are one person's, any other side is a person of its own."""
        count = 1 + max(int(first.max(initial=-1)), int(second.max(initial=-1)))
        label = np.arange(count, dtype=np.int32)
        one, other = first[is_same], second[is_same]
        while True:
            least = np.minimum(label[one], label[other])
            lowered = label.copy()
            np.minimum.at(lowered, one, least)
            np.minimum.at(lowered, other, least)
            lowered = lowered[lowered]
            if (lowered == label).all():
                return cls(first, second, label)
            label = lowered


@dataclass(frozen=True, slots=True)
class Scores:
    """What a protocol makes of P pairs."""

    score: Numbers
    """(P,) float32 or float64, the higher the more alike; all finite."""
    is_same: NDArray[np.bool_]
    """(P,) whether a pair is of one person: genuine, else an impostor."""
    is_accepted: NDArray[np.bool_] | None = None
    """(P,) what the protocol decided, where it decides, as 10 folds do, each by the threshold of the others."""
    groups: Groups | None = None
    subjects: Subjects | None = None

    def __post_init__(self) -> None:
        """ValueError where the arrays are not about the same pairs."""
        shapes = {self.score.shape, self.is_same.shape, (self.score.size,)}
        if self.is_accepted is not None:
            shapes.add(self.is_accepted.shape)
        if self.groups is not None:
            shapes.add(self.groups.codes.shape)
        if self.subjects is not None:
            shapes |= {self.subjects.first.shape, self.subjects.second.shape}
        if len(shapes) > 1:
            raise ValueError(f"scores {self.score.shape} and what is known of their pairs differ in shape")

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.score)

    @property
    def genuine(self) -> Numbers:
        """(G,) scores of the pairs of one person."""
        return self.score[self.is_same]

    @property
    def impostors(self) -> Numbers:
        """(N,) scores of the pairs of two persons."""
        return self.score[~self.is_same]

    @property
    def is_right(self) -> NDArray[np.bool_] | None:
        """(P,) whether the protocol's decision is the truth."""
        return None if self.is_accepted is None else self.is_accepted == self.is_same

    def by_group(self) -> Iterator[tuple[str, "Scores"]]:
        """The pairs of each group that has any, in the order of the names; nothing where no groups are known."""
        if self.groups is not None:
            for code, name in enumerate(self.groups.names):
                if (pairs := np.flatnonzero(self.groups.codes == code)).size:
                    yield name, self._only(pairs)

    def _only(self, pairs: NDArray[np.int64]) -> "Scores":
        subjects = self.subjects
        return replace(
            self,
            score=self.score[pairs],
            is_same=self.is_same[pairs],
            is_accepted=None if self.is_accepted is None else self.is_accepted[pairs],
            groups=None,
            subjects=subjects and replace(subjects, first=subjects.first[pairs], second=subjects.second[pairs]),
        )
