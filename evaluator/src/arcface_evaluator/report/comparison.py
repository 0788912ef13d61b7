"""Several evaluations of the same sets beside the first of them: who is better, on the same pairs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from rich.table import Table

from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics import paired, roc
from arcface_evaluator.report import document, outcomes


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one set in two runs."""

    dataset: str
    figure: str
    first: str
    """Name of the run that others are compared with."""
    second: str
    test: paired.PairedTest

    @property
    def verdict(self) -> str:
        """In words."""
        better = {"first": self.first, "second": self.second}.get(self.test.verdict)
        return "no difference shown" if better is None else f"{better} is better"


def compare_runs(runs: Mapping[str, document.EvaluationFile]) -> Iterator[Comparison]:
    """Each run with the first one, by every figure that both have kept the outcomes of.

    Raises:
        InvalidInput: where sets of one name have other files or are not of one size.
    """
    _check_same_sets(runs)
    (name, first), *others = runs.items()
    kept = {(each.dataset, each.figure): each for each in first.outcomes}
    for other_name, other in others:
        for theirs in other.outcomes:
            mine = kept.get((theirs.dataset, theirs.figure))
            if mine is None:
                continue
            if mine.pairs != theirs.pairs:
                raise InvalidInput(
                    f"{theirs.dataset}: {mine.pairs} pairs in {name} but {theirs.pairs} in {other_name}: "
                    "they cannot be compared"
                )
            test = _test(first, mine, other, theirs)
            if test is not None:
                yield Comparison(theirs.dataset, theirs.figure, name, other_name, test)


def _test(
    first: document.EvaluationFile, mine: outcomes.Outcomes, second: document.EvaluationFile, theirs: outcomes.Outcomes
) -> paired.PairedTest | None:
    """The test of a figure; None where a document does not hold all that it needs."""
    if not mine.figure.startswith(outcomes.RATE):
        return paired.paired_accuracy_test(mine.is_right, theirs.is_right, max(mine.effect, theirs.effect))
    one, other = _accepted(first, mine), _accepted(second, theirs)
    if one is None or other is None:
        return None
    return paired.paired_rate_test(one, other, float(mine.figure.removeprefix(outcomes.RATE)))


def _accepted(run: document.EvaluationFile, kept: outcomes.Outcomes) -> paired.AcceptedPairs | None:
    """What a document says of a rate: its outcomes, its curve and its operating point; None where one is missing."""
    curves = next((each for each in run.curves if each.dataset == kept.dataset), None)
    points = [point for each in run.figures if each.dataset == kept.dataset for point in each.points]
    point = next((each for each in points if f"{outcomes.RATE}{roc.far_name(each.far)}" == kept.figure), None)
    numbers = kept.false_accept_numbers
    if curves is None or numbers is None or point is None or point.impostor_effect is None:
        return None
    return paired.AcceptedPairs(
        genuine=kept.is_right,
        false_accepts=numbers,
        fpr=np.array(curves.fpr),
        tpr=np.array(curves.tpr),
        impostors=sum(curves.impostors),
        genuine_effect=kept.effect,
        impostor_effect=point.impostor_effect,
    )


def comparison_table(comparisons: list[Comparison]) -> Table:
    """A row for each; differences in percent."""
    table = Table(title="The same pairs, each run beside the first (differences in %)")
    for heading in ("set", "figure", "run", "change", "95 %", "only first", "only run", "p", ""):
        table.add_column(heading, justify="left" if heading in {"set", "figure", "run", ""} else "right")
    for each in comparisons:
        test = each.test
        low, high = (f"{100 * end:+.2f}" for end in test.interval)
        counts = (str(test.only_first), str(test.only_second), f"{test.probability:.2g}")
        table.add_row(
            each.dataset, each.figure, each.second, f"{100 * test.difference:+.3f}", f"{low} to {high}", *counts,
            each.verdict,
        )  # fmt: skip
    return table


def _check_same_sets(runs: Mapping[str, document.EvaluationFile]) -> None:
    """InvalidInput where runs have looked at different sets of one name; what a document does not tell is let pass."""
    for dataset in dict.fromkeys(chain.from_iterable(run.datasets for run in runs.values())):
        hashes: dict[str, tuple[str, str]] = {}
        counts: dict[str, tuple[str, int]] = {}
        for name, run in runs.items():
            for file, sha256 in run.hashes_of(dataset).items():
                if hashes.setdefault(file, (name, sha256))[1] != sha256:
                    raise InvalidInput(
                        f"{dataset}: {hashes[file][0]} and {name} have looked at different files of this set: they "
                        "cannot be compared"
                    )
            for what, count in run.counts_of(dataset).items():
                before, known = counts.setdefault(what, (name, count))
                if known != count:
                    raise InvalidInput(
                        f"{dataset}: {known} {what} in {before} but {count} in {name}: they cannot be compared"
                    )
