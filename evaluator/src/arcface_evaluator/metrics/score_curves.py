"""What images of an evaluation are drawn from: the curve of rates and the two distributions of scores."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from arcface_api.model import Model
from arcface_evaluator.metrics.roc import curve_up_to

POINTS = 400
"""Of a curve; a screen shows no more."""
BINS = 100


class ScoreCurves(Model):
    """Scores of a set's pairs, condensed."""

    dataset: str
    """Name of the set."""
    protocol: str
    """How scores came about, in words."""
    fpr: list[float]
    """False accept rates of points of the curve, rising."""
    tpr: list[float]
    """True accept rates there."""
    lowest: float
    """Where the first bin begins."""
    highest: float
    """Where the last bin ends; bins are equally wide."""
    genuine: list[int] = Field(min_length=1)
    """Pairs of one person by bin of their score."""
    impostors: list[int] = Field(min_length=1)
    """Pairs of two persons, likewise."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.fpr) != len(self.tpr) or len(self.genuine) != len(self.impostors) or self.lowest >= self.highest:
            raise ValueError(f"{self.dataset}: the numbers of its curves do not belong together")
        return self


def curves_of(dataset: str, protocol: str, scores: NDArray[np.float64], is_same: NDArray[np.bool_]) -> ScoreCurves:
    """Condense the scores (P,) of pairs, the higher the more alike."""
    roc = curve_up_to(scores, is_same, 1.0)
    kept = thinned(roc.fpr)
    lowest, highest = float(scores.min()), float(scores.max())
    edges = np.linspace(lowest, highest if highest > lowest else lowest + 1, BINS + 1)
    genuine, impostors = (np.histogram(part, edges)[0] for part in (scores[is_same], scores[~is_same]))
    return ScoreCurves(
        dataset=dataset,
        protocol=protocol,
        fpr=roc.fpr[kept].tolist(),
        tpr=roc.tpr[kept].tolist(),
        lowest=float(edges[0]),
        highest=float(edges[-1]),
        genuine=genuine.tolist(),
        impostors=impostors.tolist(),
    )


def thinned(fpr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of about POINTS points, evenly spread on a logarithmic axis; the last of equal rates is the highest."""
    rising = fpr[fpr > 0]
    if not len(rising):
        return np.arange(len(fpr))
    wanted = np.geomspace(rising[0], 1, POINTS)
    places = np.searchsorted(fpr, wanted, side="right") - 1
    last_of_zero = int(np.searchsorted(fpr, 0.0, side="right")) - 1
    return np.asarray(np.unique(np.concatenate([[last_of_zero], places, [len(fpr) - 1]])), np.int64)
