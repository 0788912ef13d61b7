"""What an IJB evaluation prints and writes."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.table import Table

from arcface_api.model import Model
from arcface_api.resource.status import IjbResult
from arcface_evaluator.evaluation.ijb import ProtocolResult
from arcface_evaluator.metrics.intervals import Interval, tar_intervals
from arcface_evaluator.metrics.roc import FARS
from arcface_evaluator.protocols.pooling import Protocol
from arcface_evaluator.sets.release import IjbName, TemplatePairs


class IjbRates(Model):
    """Rates under one choice of the protocol."""

    dataset: str
    """Name of the set."""
    keep_norm: bool
    """Whether images' vectors kept their length."""
    detector_score: bool
    """Whether they were multiplied by the detector's confidence."""
    flip: bool
    """Whether the mirrored view was added."""
    nearest: dict[str, float]
    """True accept rate at the point of the curve nearest to each false accept rate, as the reference reports it."""
    conservative: dict[str, float]
    """Largest true accept rate with at most that false accept rate."""
    unresolved: list[str]
    """False accept rates for which there are too few impostor pairs."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Of the usual choice: 95 % intervals of `nearest`; bootstrap over persons, thresholds held."""


class IjbProtocol(Model):
    """How templates were made and compared."""

    pooling: Literal["meanOverMediaSumOverTemplate"] = "meanOverMediaSumOverTemplate"
    """How images make a template."""
    score: Literal["cosine"] = "cosine"
    """What a pair is judged by."""
    tar_at_far: Literal["nearest"] = "nearest"
    """Which of the two conventions `ijb[].tarAtFar` has."""


def rates_of(dataset: str, result: ProtocolResult, intervals: Mapping[str, Interval] | None = None) -> IjbRates:
    """The numbers of one choice."""
    protocol = result.protocol
    return IjbRates(
        dataset=dataset,
        keep_norm=protocol.keep_norm,
        detector_score=protocol.detector_score,
        flip=protocol.flip,
        nearest={name(rate.far): rate.nearest for rate in result.rates if rate.nearest is not None},
        conservative={name(rate.far): rate.conservative for rate in result.rates if rate.conservative is not None},
        unresolved=[name(rate.far) for rate in result.rates if rate.nearest is None],
        intervals=dict(intervals or {}),
    )


def intervals_of(result: ProtocolResult, scores: NDArray[np.float64], pairs: TemplatePairs) -> dict[str, Interval]:
    """How sure the rates of one choice are, whose scores (P,) are given."""
    thresholds = {name(rate.far): rate.threshold for rate in result.rates if rate.threshold is not None}
    return dict(zip(thresholds, tar_intervals(scores, pairs, list(thresholds.values())), strict=True))


def ijb_result_of(dataset: IjbName, result: ProtocolResult) -> IjbResult:
    """The entry of `ijb`, as in the status of a job."""
    return IjbResult(dataset=dataset, tar_at_far=rates_of(dataset, result).nearest)


def table_of(dataset: str, results: list[ProtocolResult]) -> Table:
    """Rates in percent, a row for each choice, the usual one first."""
    table = Table(title=f"{dataset}: TAR in % at FAR (nearest point of the curve)")
    table.add_column("images' vectors")
    for far in FARS:
        table.add_column(name(far), justify="right")
    for result in results:
        rates = ("-" if rate.nearest is None else f"{100 * rate.nearest:.2f}" for rate in result.rates)
        table.add_row(described(result.protocol), *rates)
    return table


def described(protocol: Protocol | IjbRates) -> str:
    """A choice in words."""
    norm = "norm kept" if protocol.keep_norm else "unit norm"
    return ", ".join([norm, *(["x detector score"] * protocol.detector_score), *(["+ mirrored"] * protocol.flip)])


def name(far: float) -> str:
    """1e-6 for 0.000001."""
    return f"1e{int(f'{far:e}'.partition('e')[2])}"
