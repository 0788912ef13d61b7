"""From what was measured to entries of the document, to lines and tables for people, and to the pairs of the page."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from arcface_evaluator.metrics import intervals, roc
from arcface_evaluator.protocols import templates
from arcface_evaluator.report.document import IjbRates, PairAccuracy, PairDetails, ScoreCurves
from arcface_evaluator.report.figures import Measured
from arcface_faces.images import Image, cv2
from arcface_faces.pairs.protocol import PairScores
from arcface_faces.scores import Scores

SHOWN = 8
"""Of the hardest pairs of each kind."""
BINS = 100
"""Of the histograms of scores."""


@dataclass(frozen=True, slots=True)
class ChoiceRates:
    """Rates under one choice of pooling."""

    choice: templates.PoolingChoice
    rates: list[roc.TarAtFar]


def lines_of(found: PairScores) -> list[str]:
    """The two lines of a set, as the reference prints them, then one for each group."""
    kind = "Accuracy-Flip" if found.flip else "Accuracy"
    return [
        f"[{found.dataset}]XNorm: {found.xnorm:f}",
        f"[{found.dataset}]{kind}: {found.folds.mean:1.5f}+-{found.folds.std:1.5f}",
        *_group_lines(found),
    ]


def _group_lines(found: PairScores) -> list[str]:
    """A line a group, the worst one marked; none where no groups are known."""
    groups = {name: intervals.decisions(group) for name, group in found.scores.by_group()}
    worst = min(groups, key=lambda name: groups[name][0], default=None)
    return [
        f"[{found.dataset}]{name}: {accuracy:1.5f}, 95 % {low:1.5f} to {high:1.5f}"
        + ", the worst group" * (name == worst)
        for name, (accuracy, (low, high)) in groups.items()
    ]


def result_of(found: PairScores) -> PairAccuracy:
    """The entry of `results`."""
    return PairAccuracy(dataset=found.dataset, accuracy=found.folds.mean, std=found.folds.std, pairs=found.pairs)


def details_of(found: PairScores) -> PairDetails:
    """The entry of `details`."""
    plain = found.folds_without_flip
    return PairDetails(
        dataset=found.dataset,
        flip=found.flip,
        folds=found.folds.accuracies.tolist(),
        thresholds=found.folds.thresholds.tolist(),
        xnorm=found.xnorm,
        accuracy_without_flip=plain.mean if plain else None,
        std_without_flip=plain.std if plain else None,
        interval=intervals.accuracy_interval(found.scores),
    )


def rates_of(dataset: str, result: ChoiceRates, bounds: Mapping[str, intervals.Interval] | None = None) -> IjbRates:
    """The numbers of one choice."""
    return IjbRates(
        dataset=dataset,
        keep_norm=result.choice.keep_norm,
        detector_score=result.choice.detector_score,
        flip=result.choice.flip,
        nearest={roc.far_name(rate.far): rate.nearest for rate in result.rates if rate.nearest is not None},
        conservative={
            roc.far_name(rate.far): rate.conservative for rate in result.rates if rate.conservative is not None
        },
        published={roc.far_name(rate.far): rate.published for rate in result.rates if rate.published is not None},
        unresolved=[roc.far_name(rate.far) for rate in result.rates if rate.nearest is None],
        intervals=dict(bounds or {}),
    )


def intervals_of(rates: Sequence[roc.TarAtFar], scores: Scores) -> dict[str, intervals.Interval]:
    """How sure the rates of some scores are."""
    return {roc.far_name(far): bounds for far, bounds in intervals.tar_intervals(scores, rates).items()}


def table_of(dataset: str, results: list[ChoiceRates]) -> Table:
    """Rates in percent, a row for each choice, the usual one first."""
    table = Table(title=f"{dataset}: TAR in % at FAR (nearest point of the curve)")
    table.add_column("images' vectors")
    for far in roc.FARS:
        table.add_column(roc.far_name(far), justify="right")
    for result in results:
        rates = ("-" if rate.nearest is None else f"{100 * rate.nearest:.2f}" for rate in result.rates)
        table.add_row(choice_name(result.choice), *rates)
    return table


def choice_name(choice: templates.PoolingChoice | IjbRates) -> str:
    """A choice in words."""
    norm = "norm kept" if choice.keep_norm else "unit norm"
    return ", ".join([norm, *(["x detector score"] * choice.detector_score), *(["+ mirrored"] * choice.flip)])


def curves_of(dataset: str, protocol: str, measured: Measured) -> ScoreCurves:
    """Condense the scores of pairs and their curve."""
    scores, curve = measured.scores, measured.curve
    points = curve.points_to_draw()
    lowest, highest = float(scores.score.min()), float(scores.score.max())
    edges = np.linspace(lowest, highest if highest > lowest else lowest + 1, BINS + 1)
    genuine, impostors = (np.histogram(part, edges)[0] for part in (scores.genuine, scores.impostors))
    return ScoreCurves(
        dataset=dataset,
        protocol=protocol,
        fpr=curve.fmr[points].tolist(),
        tpr=curve.tpr[points].tolist(),
        lowest=float(edges[0]),
        highest=float(edges[-1]),
        genuine=genuine.tolist(),
        impostors=impostors.tolist(),
    )


@dataclass(frozen=True, slots=True)
class HardPair:
    """Two images and what was made of them."""

    caption: str
    images: tuple[Image, Image]

    @property
    def base64(self) -> list[str]:
        """The images as PNG for a page."""
        encoded = [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in self.images]
        return [base64.b64encode(content).decode("ascii") for content in encoded]


@dataclass(frozen=True, slots=True)
class HardPairs:
    """The hardest pairs of one kind in a set."""

    dataset: str
    title: str
    pairs: list[HardPair]


def hardest_pairs(dataset: str, scores: Scores, show: Callable[[int, str], HardPair]) -> list[HardPairs]:
    """Genuine pairs with the lowest and impostors with the highest scores.

    Args:
        dataset: name of the set.
        scores: of its pairs.
        show: makes the pair of a number and a caption that begins with its score.
    """
    genuine, impostors = np.flatnonzero(scores.is_same), np.flatnonzero(~scores.is_same)
    alike = genuine[np.argsort(scores.score[genuine], kind="stable")[:SHOWN]]
    different = impostors[np.argsort(-scores.score[impostors], kind="stable")[:SHOWN]]
    titles = {"One person, least alike": alike, "Two persons, most alike": different}
    return [
        HardPairs(dataset, title, [show(int(number), f"{scores.score[number]:.3f}") for number in numbers])
        for title, numbers in titles.items()
    ]
