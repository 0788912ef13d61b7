"""Several evaluations of the same sets beside the first of them: who is better, on the same pairs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from rich.table import Table

from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics.paired import PairedTest, paired_test
from arcface_evaluator.report import document


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one set in two runs."""

    dataset: str
    figure: str
    first: str
    """Name of the run that others are compared with."""
    second: str
    test: PairedTest

    @property
    def verdict(self) -> str:
        """In words."""
        better = {"first": self.first, "second": self.second}.get(self.test.verdict)
        return "no difference shown" if better is None else f"{better} is better"


def compare_runs(runs: Mapping[str, document.EvaluationFile]) -> Iterator[Comparison]:
    """Each run with the first one, by every figure that both have kept the outcomes of.

    Raises:
        InvalidInput: where sets of one name are other files.
    """
    _check_same_files(runs)
    (name, first), *others = runs.items()
    kept = {(each.dataset, each.figure): each for each in first.outcomes}
    for other_name, other in others:
        for outcomes in other.outcomes:
            mine = kept.get((outcomes.dataset, outcomes.figure))
            if mine is None:
                continue
            if mine.pairs != outcomes.pairs:
                raise InvalidInput(
                    f"{outcomes.dataset}: {mine.pairs} pairs in {name} but {outcomes.pairs} in {other_name}: "
                    "they cannot be compared"
                )
            test = paired_test(mine.is_right, outcomes.is_right, max(mine.effect, outcomes.effect))
            yield Comparison(outcomes.dataset, outcomes.figure, name, other_name, test)


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


def _check_same_files(runs: Mapping[str, document.EvaluationFile]) -> None:
    """InvalidInput where runs have looked at different files of one name."""
    names = [[*(each.dataset for each in run.results), *(each.dataset for each in run.ijb)] for run in runs.values()]
    for dataset in dict.fromkeys(chain.from_iterable(names)):
        if len({run.sha256_of(dataset) for run in runs.values()} - {None}) > 1:
            raise InvalidInput(f"the runs have looked at different files called {dataset}: they cannot be compared")
