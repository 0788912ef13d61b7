"""Figures of a set's scores as entries of the document: areas, equal error rates, operating points, and by group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from arcface_api.model import Model
from arcface_evaluator.metrics import error_rates, intervals, roc
from arcface_faces.scores import Scores


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores with their curve, which takes long to make where pairs are many."""

    scores: Scores
    curve: error_rates.ErrorCurve

    @classmethod
    def of(cls, scores: Scores) -> "Measured":
        """Make the curve."""
        return cls(scores, error_rates.error_curve(scores))


class OperatingPoint(Model):
    """A threshold that one can deploy with, and the errors that it makes."""

    far: float
    """False match rate that it was chosen for."""
    threshold: float
    """Score from which on a pair is taken for one person."""
    fmr: float | None = None
    """False match rate at the threshold; absent without such pairs."""
    fnmr: float | None = None
    """False non-match rate there, likewise."""
    interval: tuple[float, float] | None = None
    """95 % interval of the false non-match rate: at that false match rate, and of a group at the threshold."""
    fmr_interval: tuple[float, float] | None = None
    """95 % interval of a group's false match rate at the threshold."""
    impostor_effect: float | None = Field(default=None, ge=1)
    """Design effect: how many pairs of two persons tell as much as one of strangers; absent for a group."""


class GroupFigures(Model):
    """What the pairs of one group show, judged like all others."""

    group: str
    """Its name."""
    pairs: int
    """Its pairs."""
    accuracy: float | None = None
    """Share of right decisions; absent where the protocol decides nothing."""
    interval: tuple[float, float] | None = None
    """95 % interval of the accuracy."""
    eer: float | None = None
    """Equal error rate; absent where its pairs are all of one kind."""
    points: list[OperatingPoint] = Field(default_factory=list)
    """Errors at the thresholds that were chosen on all pairs."""


class SetFigures(Model):
    """What the scores of a set show."""

    dataset: str
    """Name of the set."""
    auc: float
    """Area under the ROC: how often a genuine pair scores higher than an impostor, equal scores counting half."""
    eer: float
    """Equal error rate, interpolated between the corners of the ROC."""
    eer_threshold: float
    """Score from which on pairs are accepted near it."""
    points: list[OperatingPoint] = Field(default_factory=list)
    """Operating points, where there are impostors enough."""
    groups: list[GroupFigures] = Field(default_factory=list)
    """By group, where groups are known."""

    @property
    def worst_group(self) -> GroupFigures | None:
        """The group with the lowest accuracy, or the highest equal error rate where nothing is decided.

        None where several share it.
        """
        worst = highest({group.group: _error(group) for group in self.groups})
        return next((group for group in self.groups if group.group == worst), None)


def figures_of(
    dataset: str, measured: Measured, rates: Sequence[roc.TarAtFar], bounds: Mapping[str, intervals.TarInterval]
) -> SetFigures:
    """Everything at once; the rates at false accept rates and their intervals are those of the scores."""
    chosen = [rate for rate in rates if rate.threshold is not None and math.isfinite(rate.threshold)]
    ends = [bounds[roc.far_name(rate.far)] for rate in chosen]
    points = [
        point.model_copy(update={"interval": (1 - high, 1 - low), "impostor_effect": effect})
        for point, (low, high, effect) in zip(_points_of(measured.scores, chosen), ends, strict=True)
    ]
    return SetFigures(
        dataset=dataset,
        auc=measured.curve.auc,
        eer=measured.curve.eer,
        eer_threshold=measured.curve.eer_threshold,
        points=points,
        groups=[_group_of(name, group, chosen) for name, group in measured.scores.by_group()],
    )


def _points_of(scores: Scores, chosen: Sequence[roc.TarAtFar]) -> list[OperatingPoint]:
    """The errors at thresholds that were chosen, here or on more pairs."""
    thresholds = [rate.threshold for rate in chosen if rate.threshold is not None]
    errors = zip(*error_rates.rates_at(scores, thresholds), strict=True)
    return [
        OperatingPoint(far=rate.far, threshold=threshold, fmr=_known(fmr), fnmr=_known(fnmr))
        for rate, threshold, (fmr, fnmr) in zip(chosen, thresholds, errors, strict=True)
    ]


def _group_of(name: str, group: Scores, chosen: Sequence[roc.TarAtFar]) -> GroupFigures:
    is_mixed = 0 < int(group.is_same.sum()) < len(group)
    right = group.is_right
    return GroupFigures(
        group=name,
        pairs=len(group),
        accuracy=None if right is None else float(right.mean()),
        interval=None if right is None else intervals.hit_interval(group, np.ones_like(right), right),
        eer=error_rates.error_curve(group).eer if is_mixed else None,
        points=[_with_intervals(group, point) for point in _points_of(group, chosen)],
    )


def _with_intervals(group: Scores, point: OperatingPoint) -> OperatingPoint:
    """What the pairs of a group leave open of its rates at a threshold that was chosen on all."""
    is_accepted = group.score >= point.threshold
    kinds = {"interval": (group.is_same, ~is_accepted), "fmr_interval": (~group.is_same, is_accepted)}
    bounds = {name: intervals.hit_interval(group, *kind) for name, kind in kinds.items() if kind[0].any()}
    return point.model_copy(update=bounds)


def highest(rates: Mapping[str, float | None]) -> str | None:
    """Whose rate is the highest of those that are known; None where several share it, or none is there to compare."""
    known = {name: rate for name, rate in rates.items() if rate is not None}
    leaders = [name for name, rate in known.items() if rate == max(known.values())]
    return leaders[0] if len(leaders) == 1 < len(known) else None


def _error(group: GroupFigures) -> float | None:
    return group.eer if group.accuracy is None else 1 - group.accuracy


def _known(rate: float) -> float | None:
    return None if math.isnan(rate) else float(rate)
