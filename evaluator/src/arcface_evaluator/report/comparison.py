"""Several evaluations of the same sets beside the first of them: who is better, on the same pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    has_persons: bool
    """Whether both runs tell which pairs show the same person."""

    @property
    def verdict(self) -> str:
        """In words."""
        better = {"first": self.first, "second": self.second}.get(self.test.verdict)
        return "no difference shown" if better is None else f"{better} is better"


@dataclass(frozen=True, slots=True)
class Omission:
    """One figure of one set that is not compared."""

    dataset: str
    figure: str
    reason: str


Compared = Comparison | Omission
NamedRun = tuple[str, document.EvaluationFile]


def compare_runs(runs: Mapping[str, document.EvaluationFile]) -> Iterator[Compared]:
    """Each run with the first one, by every figure that one of them has kept the outcomes of.

    Raises:
        InvalidInput: where sets of one name have other files, or are not of one size or of the same persons.
    """
    _check_same_sets(runs)
    (first_name, first), *others = runs.items()
    for name, run in others:
        for dataset, figure in dict.fromkeys((each.dataset, each.figure) for each in [*first.outcomes, *run.outcomes]):
            yield _compared((first_name, first), (name, run), dataset, figure)


def _compared(first: NamedRun, second: NamedRun, dataset: str, figure: str) -> Compared:
    (name, run), (other_name, other) = first, second
    mine, theirs = _kept(run, dataset, figure), _kept(other, dataset, figure)
    if mine is None or theirs is None:
        lacking, of_run = first if mine is None else second
        why = "holds no outcomes of it" if dataset in of_run.datasets else "has not judged the set"
        return Omission(dataset, figure, f"{lacking} {why}")
    if mine.pairs != theirs.pairs:
        raise _incomparable(dataset, f"{mine.pairs} pairs in {name} but {theirs.pairs} in {other_name}")
    persons = [each for each in (mine.person_counts, theirs.person_counts) if each is not None]
    has_persons = len(persons) == 2
    if has_persons and not np.array_equal(persons[0].genuine, persons[1].genuine):
        raise _incomparable(dataset, f"{name} and {other_name} have pairs of other persons")
    if not figure.startswith(outcomes.RATE):
        test = paired.paired_accuracy_test(mine.is_right, theirs.is_right, max(mine.effect, theirs.effect))
        return Comparison(dataset, figure, name, other_name, test, has_persons)
    one, another = _accepted(run, mine), _accepted(other, theirs)
    if one is None or another is None:
        lacking = " and ".join(of for of, known in ((name, one), (other_name, another)) if known is None)
        return Omission(dataset, figure, f"evaluate {lacking} anew: earlier releases kept too little of rates")
    test = paired.paired_rate_test(one, another, float(figure.removeprefix(outcomes.RATE)))
    return Comparison(dataset, figure, name, other_name, test, has_persons)


def comparisons_of(compared: Iterable[Compared]) -> list[Comparison]:
    """What could be compared."""
    return [each for each in compared if isinstance(each, Comparison)]


def notes(compared: Iterable[Compared]) -> list[str]:
    """In sentences what was not compared and why, then what was without regard to persons."""
    omitted, impersonal = dict[tuple[str, str], list[str]](), dict[str, None]()
    for each in compared:
        if isinstance(each, Omission):
            omitted.setdefault((each.dataset, each.reason), []).append(each.figure)
        elif not each.has_persons:
            impersonal[each.dataset] = None
    lines = [f"Not compared: {dataset} {', '.join(figures)}: {why}." for (dataset, why), figures in omitted.items()]
    if impersonal:
        datasets = ", ".join(impersonal)
        lines.append(
            f"Not both runs tell who is shown of {datasets}: p is too small where persons come in several pairs."
        )
    return lines


def _kept(run: document.EvaluationFile, dataset: str, figure: str) -> outcomes.Outcomes | None:
    return next((each for each in run.outcomes if (each.dataset, each.figure) == (dataset, figure)), None)


def _accepted(run: document.EvaluationFile, kept: outcomes.Outcomes) -> paired.AcceptedPairs | None:
    """What a document says of a rate: its outcomes, its curve and its operating point; None where one is missing.

    Where nothing is accepted, as of a model that finds all pairs alike, there is no such point and no luck of it.
    """
    curves = next((each for each in run.curves if each.dataset == kept.dataset), None)
    points = [point for each in run.figures if each.dataset == kept.dataset for point in each.points]
    numbers = kept.false_accept_numbers
    if curves is None or numbers is None:
        return None
    without_point = None if len(numbers) or kept.is_right.any() else 1.0
    effects = ((f"{outcomes.RATE}{roc.far_name(each.far)}", each.impostor_effect) for each in points)
    effect = next((effect for name, effect in effects if name == kept.figure), without_point)
    if effect is None:
        return None
    return paired.AcceptedPairs(
        genuine=kept.is_right,
        false_accepts=numbers,
        fpr=np.array(curves.fpr),
        tpr=np.array(curves.tpr),
        impostors=sum(curves.impostors),
        genuine_effect=kept.effect,
        impostor_effect=effect,
        persons=kept.person_counts,
    )


def comparison_table(compared: Sequence[Compared]) -> Table:
    """A row for each; differences in percent; below it what was not compared."""
    table = Table(
        title="The same pairs, each run beside the first (differences in %)",
        caption="\n".join(notes(compared)) or None,
        caption_justify="left",
    )
    for heading in ("set", "figure", "run", "change", "95 %", "only first", "only run", "p", ""):
        table.add_column(heading, justify="left" if heading in {"set", "figure", "run", ""} else "right")
    for each in comparisons_of(compared):
        test = each.test
        low, high = (f"{100 * end:+.2f}" for end in test.interval)
        counts = (str(test.only_first), str(test.only_second), test.probability_text)
        table.add_row(
            each.dataset, each.figure, each.second, f"{100 * test.difference:+.3f}", f"{low} to {high}", *counts,
            each.verdict,
        )  # fmt: skip
    return table


def _incomparable(dataset: str, difference: str) -> InvalidInput:
    return InvalidInput(f"{dataset}: {difference}: they cannot be compared")


def _check_same_sets(runs: Mapping[str, document.EvaluationFile]) -> None:
    """InvalidInput where runs have looked at different sets of one name; what a document does not tell is let pass."""
    for dataset in dict.fromkeys(chain.from_iterable(run.datasets for run in runs.values())):
        hashes: dict[str, tuple[str, list[str]]] = {}
        counts: dict[str, tuple[str, int]] = {}
        for name, run in runs.items():
            for kind, files in run.hashes_of(dataset).items():
                before, known_files = hashes.setdefault(kind, (name, files))
                if known_files != files:
                    raise _incomparable(dataset, f"{before} and {name} have looked at different files of this set")
            for what, count in run.counts_of(dataset).items():
                before, known = counts.setdefault(what, (name, count))
                if known != count:
                    raise _incomparable(dataset, f"{known} {what} in {before} but {count} in {name}")
