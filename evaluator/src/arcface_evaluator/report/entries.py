"""From what was measured to entries of the document, to lines and tables for people, and to the pairs of the page."""

import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from arcface_api.errors import ArcFaceError
from arcface_evaluator.metrics import intervals, roc
from arcface_evaluator.protocols import templates
from arcface_evaluator.report.document import IjbRates, PairAccuracy, PairDetails, ScoreCurves
from arcface_evaluator.report.figures import Measured, highest
from arcface_faces.images import Image, cv2
from arcface_faces.pairs.protocol import PairScores
from arcface_faces.scores import Scores

LOG = logging.getLogger(__name__)
SHOWN = 8
"""Of the hardest pairs of each kind."""
BINS = 100
"""Of the histograms of scores."""
BLOCK = 1 << 20
"""Pairs that are looked through at once."""


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
    worst = highest({name: 1 - accuracy for name, (accuracy, _) in groups.items()})
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


def rates_of(dataset: str, result: ChoiceRates, bounds: Mapping[str, intervals.TarInterval] | None = None) -> IjbRates:
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
        intervals={far: (each.low, each.high) for far, each in (bounds or {}).items()},
    )


def intervals_of(rates: Sequence[roc.TarAtFar], measured: Measured) -> dict[str, intervals.TarInterval]:
    """How sure the rates of some scores are."""
    found = intervals.tar_intervals(measured.scores, rates, measured.curve)
    return {roc.far_name(far): bounds for far, bounds in found.items()}


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
    # Equal bins by their ends are counted without sorting, and impostors without being copied.
    genuine, everyone = (np.histogram(part, BINS, (edges[0], edges[-1]))[0] for part in (scores.genuine, scores.score))
    return ScoreCurves(
        dataset=dataset,
        protocol=protocol,
        fpr=curve.fmr[points].tolist(),
        tpr=curve.tpr[points].tolist(),
        lowest=float(edges[0]),
        highest=float(edges[-1]),
        genuine=genuine.tolist(),
        impostors=(everyone - genuine).tolist(),
    )


@dataclass(frozen=True, slots=True)
class HardPair:
    """Two images and what was made of them."""

    caption: str
    images: tuple[Image, Image]
    score: float = 0.0
    is_right: bool | None = None
    """Whether the protocol judged it rightly, where it decides."""

    @property
    def verdict(self) -> str:
        """In a word."""
        return {None: "", True: "right", False: "wrong"}[self.is_right]

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
    is_same: bool

    def judged(self, threshold: float) -> "HardPairs":
        """Those that the protocol leaves open decided by a threshold."""
        pairs = [
            replace(pair, is_right=(pair.score >= threshold) == self.is_same) if pair.is_right is None else pair
            for pair in self.pairs
        ]
        return replace(self, pairs=pairs)


def hardest_pairs(dataset: str, scores: Scores, show: Callable[[int, str], HardPair]) -> list[HardPairs]:
    """Genuine pairs with the lowest and impostors with the highest scores.

    Those whose images cannot be read are left out, with a line in the log.

    Args:
        dataset: name of the set.
        scores: of its pairs.
        show: makes the pair of a number and a caption that begins with its score.
    """
    genuine, impostors = np.flatnonzero(scores.is_same), _most_alike_impostors(scores)
    alike = genuine[np.argsort(scores.score[genuine], kind="stable")[:SHOWN]]
    different = impostors[np.argsort(-scores.score[impostors], kind="stable")[:SHOWN]]
    is_right = scores.is_right

    def shown(numbers: NDArray[np.int64]) -> Iterator[HardPair]:
        for number in map(int, numbers):
            score = float(scores.score[number])
            try:
                pair = show(number, f"{score:.3f}")
            except ArcFaceError as error:
                LOG.warning("%s: the page leaves out a pair: %s", dataset, error)
                continue
            yield replace(pair, score=score, is_right=None if is_right is None else bool(is_right[number]))

    return [
        HardPairs(dataset, "One person, least alike", list(shown(alike)), is_same=True),
        HardPairs(dataset, "Two persons, most alike", list(shown(different)), is_same=False),
    ]


def _most_alike_impostors(scores: Scores) -> NDArray[np.int64]:
    """Rising numbers of some impostors, among which are the SHOWN highest scores; only those of a block are copied."""
    found, bound = [], -np.inf
    for start in range(0, len(scores), BLOCK):
        block = scores.score[start : start + BLOCK]
        numbers = np.flatnonzero((block >= bound) & ~scores.is_same[start : start + BLOCK])
        if len(numbers) > SHOWN:
            bound = np.partition(block[numbers], -SHOWN)[-SHOWN]
            numbers = numbers[block[numbers] >= bound]
        found.append(start + numbers)
    return np.concatenate(found)
