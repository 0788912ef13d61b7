"""What became of each pair, kept in a document so that two evaluations can be compared pair by pair.

A bit a pair: 1.4 KB for the 6,000 pairs of LFW with its rates, 20 KB for the genuine pairs of IJB-C at six rates.
"""

import base64
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from arcface_api.model import Model
from arcface_evaluator.metrics import dependence, roc
from arcface_faces.scores import Scores


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

    @classmethod
    def of(cls, dataset: str, figure: str, kind: dependence.Dependence, is_right: NDArray[np.bool_]) -> "Outcomes":
        """Pack those of one kind of pairs, of all (P,)."""
        packed = base64.b64encode(np.packbits(is_right[kind.members]).tobytes()).decode("ascii")
        return cls(dataset=dataset, figure=figure, pairs=kind.size, right=packed, effect=kind.design_effect(is_right))

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            packed = base64.b64decode(self.right, validate=True)
        except ValueError:
            packed = b""
        if len(packed) != (self.pairs + 7) // 8:
            raise ValueError(f"{self.dataset}: the outcomes of {self.figure} are not those of {self.pairs} pairs")
        return self

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """(pairs,) the bits."""
        return np.unpackbits(np.frombuffer(base64.b64decode(self.right), np.uint8), count=self.pairs).astype(np.bool_)


def outcomes_of(dataset: str, scores: Scores, rates: list[roc.TarAtFar]) -> Iterator[Outcomes]:
    """What is kept of a set: its decisions where the protocol decides, and the genuine pairs at each rate."""
    if scores.is_right is not None:
        everyone = dependence.Dependence.of(scores, np.ones(len(scores), np.bool_))
        yield Outcomes.of(dataset, "accuracy", everyone, scores.is_right)
    genuine = dependence.Dependence.of(scores, scores.is_same)
    for rate in rates:
        if rate.threshold is not None:
            yield Outcomes.of(dataset, f"tar@{roc.far_name(rate.far)}", genuine, scores.score >= rate.threshold)
