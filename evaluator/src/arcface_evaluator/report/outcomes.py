"""What became of each pair, kept in a document so that two evaluations can be compared pair by pair.

A bit a pair: 1.4 KB for the 6,000 pairs of LFW with its rates, 20 KB for the genuine pairs of IJB-C at six rates. Of
impostors the numbers of some thousand at most that are accepted, for what two models' thresholds have in common. Where
persons are known three counts of each, 56 KB a rate for those of IJB-C.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from arcface_api.model import Model
from arcface_evaluator.metrics import dependence, paired, roc
from arcface_faces.scores import Scores

RATE = "tar@"
"""How figures begin that are rates of genuine pairs."""
MOST_FALSE_ACCEPTS = 4096
"""Of a rate that are kept as a rule: enough for the share that two models have in common, within 2 %."""


class Outcomes(Model):
    """Which pairs a figure counts as right."""

    dataset: str
    """Name of the set."""
    figure: str
    """`accuracy` of all pairs, or `tar@1e-4` and the like, of the genuine ones at the threshold of that rate."""
    pairs: int = Field(ge=1, le=2**40)
    """Pairs that it counts, in the order of the set."""
    right: str
    """A bit a pair, eight a byte from the highest bit on, in base64."""

    effect: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    """Design effect: how many pairs tell as much as one of strangers."""
    false_accepts: str | None = None
    """Of a rate: rising numbers of the impostors that it accepts among the set's pairs, 32 bits each, little-endian, in
    base64; where they are many, of those whose number a step divides that goes by their number and the rate only."""
    persons: str | None = None
    """Of a rate where persons are known: the genuine pairs of each, then those of each that are accepted, then the
    accepted impostors that show each; 32 bits each, little-endian, in base64."""

    @classmethod
    def of(
        cls,
        dataset: str,
        figure: str,
        kind: dependence.Dependence,
        is_right: NDArray[np.bool_],
        *,
        false_accepts: NDArray[np.int64] | None = None,
        persons: NDArray[np.int64] | None = None,
    ) -> "Outcomes":
        """Pack those of one kind of pairs, of all (P,), and the counts of persons (3, S)."""
        return cls(
            dataset=dataset,
            figure=figure,
            pairs=kind.size,
            right=_base64(np.packbits(is_right[kind.members])),
            effect=kind.design_effect(is_right),
            false_accepts=None if false_accepts is None else _base64(false_accepts.astype("<u4")),
            persons=None if persons is None else _base64(persons.astype("<u4")),
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        texts = (self.right, self.false_accepts or "", self.persons or "")
        try:
            packed, numbers, counts = (base64.b64decode(text, validate=True) for text in texts)
        except ValueError:
            packed, numbers, counts = b"", b"", b""
        is_whole = len(packed) == (self.pairs + 7) // 8 and len(numbers) % 4 == len(counts) % 12 == 0
        if not is_whole or not self._has_its_persons():
            raise ValueError(f"{self.dataset}: the outcomes of {self.figure} are not those of {self.pairs} pairs")
        return self

    def _has_its_persons(self) -> bool:
        """Whether the persons' pairs are those that are counted, where persons are known."""
        if (counts := self.person_counts) is None:
            return True
        sums = int(counts.genuine.sum()), int(counts.accepted.sum())
        return sums == (self.pairs, np.count_nonzero(self.is_right)) and bool((counts.accepted <= counts.genuine).all())

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """(pairs,) the bits."""
        return np.unpackbits(np.frombuffer(base64.b64decode(self.right), np.uint8), count=self.pairs).astype(np.bool_)

    @property
    def false_accept_numbers(self) -> NDArray[np.uint32] | None:
        """(A,) the numbers; None where earlier releases kept none."""
        return None if self.false_accepts is None else np.frombuffer(base64.b64decode(self.false_accepts), "<u4")

    @property
    def person_counts(self) -> paired.PersonCounts | None:
        """The pairs by person; None where persons are not known, or earlier releases kept none."""
        if self.persons is None:
            return None
        counts = np.frombuffer(base64.b64decode(self.persons), "<u4").reshape(3, -1).astype(np.int64)
        return paired.PersonCounts(*counts)


def outcomes_of(dataset: str, scores: Scores, rates: list[roc.TarAtFar]) -> Iterator[Outcomes]:
    """What is kept of a set: its decisions where the protocol decides, and the genuine pairs at each rate."""
    if scores.is_right is not None:
        everyone = dependence.Dependence.of(scores, np.ones(len(scores), np.bool_))
        yield Outcomes.of(dataset, "accuracy", everyone, scores.is_right)
    genuine = dependence.Dependence.of(scores, scores.is_same)
    thresholds = {rate.far: rate.threshold for rate in rates if rate.threshold is not None}
    false_accepts = _false_accepts(scores, len(scores) - genuine.size, thresholds)
    for far, threshold in thresholds.items():
        is_accepted = scores.score >= threshold
        yield Outcomes.of(
            dataset,
            f"{RATE}{roc.far_name(far)}",
            genuine,
            is_accepted,
            false_accepts=false_accepts[far],
            persons=_person_counts(scores, is_accepted),
        )


def _person_counts(scores: Scores, is_accepted: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """(3, S) what `Outcomes.persons` holds."""
    if (subjects := scores.subjects) is None:
        return None
    kinds = scores.is_same, is_accepted & scores.is_same, is_accepted & ~scores.is_same
    return np.stack([dependence.hits_by_person(subjects, np.flatnonzero(kind)) for kind in kinds])


def _false_accepts(scores: Scores, impostors: int, thresholds: Mapping[float, float]) -> dict[float, NDArray[np.int64]]:
    """Numbers of the impostors from each threshold on; all pairs are looked through once."""
    lowest = min(thresholds.values(), default=np.inf)
    candidates = np.flatnonzero((scores.score >= lowest) & ~scores.is_same)
    found = {}
    for far, threshold in thresholds.items():
        step = max(1, int(far * impostors / MOST_FALSE_ACCEPTS))
        kept = candidates[candidates % step == 0] if step > 1 else candidates
        found[far] = kept[scores.score[kept] >= threshold]
    return found


def _base64(values: NDArray[np.uint8] | NDArray[np.uint32]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
