"""Tables of an evaluation's page, from what the documents of its runs say of a set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Protocol, TypeVar

from arcface_evaluator.metrics.roc import FARS, far_name
from arcface_evaluator.report import comparison, document, entries, figures as set_figures
from arcface_evaluator.report.pages.page import Table

GLANCE_FMR, TEMPLATES_FAR = 1e-3, 1e-4
"""What is told at a glance: of all sets the FNMR at the one, of templates the true accept rate at the other."""
PAIR_HEADINGS = ("", "accuracy", "std over folds", "95 % interval", "pairs", "without mirrored", "XNorm")
PAIR_REMARK = (
    "Ten contiguous folds, each judged with the threshold that is best on the other nine. The interval is "
    "Clopper's and Pearson's and allows for the choice of thresholds."
)
IJB_REMARK = (
    "True accept rates in %. Nearest: at the point of the curve whose false accept rate is nearest; at most: the "
    "largest one with no more than that false accept rate. A dash: too few impostor pairs to tell. The interval "
    "allows for the luck of both kinds of pairs, of the threshold and of the persons."
)
POINT_HEADINGS = ("run", "for FMR", "threshold", "FMR", "FNMR", "95 % of FNMR")
POINTS_REMARK = (
    "A pair is taken for one person where its score is at least the threshold. FMR: share of the pairs of two persons "
    "that are; FNMR: share of the pairs of one person that are not. Dots on the curves, dashed lines in the histograms."
)
GROUP_HEADINGS = ("run", "group", "pairs", "accuracy", "95 % interval", "EER", "")
GROUPS_REMARK = "Decided with the thresholds of all pairs; an EER has a threshold of its own."
GROUP_POINT_HEADINGS = ("run", "for FMR", "group", "FMR", "95 % of FMR", "FNMR", "95 % of FNMR", "")
GROUP_POINTS_REMARK = "Each group at the thresholds of the operating points, which are those of all pairs."
COMPARISON_HEADINGS = ("run", "set", "figure", "verdict", "difference", "95 % interval", "p", "only first", "only run")
VERDICTS = {"first": "worse", "second": "better", "undecided": "no difference shown"}
COMPARISON_REMARK = (
    "The same pairs, judged by both. Difference: the run less the first one, in %. Only first, only run: pairs that "
    "one of them judges rightly. p: of a difference at least as large, were both equally good, by draws that allow for "
    "the luck of thresholds and for persons, or by the uneven counts alone where that is larger. Of equal runs about "
    "one comparison in twenty is called different, fewer by accuracy."
)
Runs = Mapping[str, document.EvaluationFile]


class _OfSet(Protocol):
    """An entry of a document."""

    @property
    def dataset(self) -> str: ...


Entry = TypeVar("Entry", bound=_OfSet)


@dataclass(frozen=True, slots=True)
class SetResults:
    """What the runs that have judged a set say of it, each by the name of its run."""

    dataset: str
    details: dict[str, document.PairDetails]
    figures: dict[str, set_figures.SetFigures]
    curves: dict[str, document.ScoreCurves]
    rates: dict[str, document.IjbRates]
    """Of sets of templates, under the usual choice."""

    @property
    def points(self) -> dict[str, Sequence[set_figures.OperatingPoint]]:
        """Operating points."""
        return {run: found.points for run, found in self.figures.items()}


def results_of(runs: Runs, dataset: str) -> SetResults:
    """Gather what is told of one set."""
    return SetResults(
        dataset,
        details=_first({name: run.details for name, run in runs.items()}, dataset),
        figures=_first({name: run.figures for name, run in runs.items()}, dataset),
        curves=_first({name: run.curves for name, run in runs.items()}, dataset),
        rates=_first({name: run.ijb_details for name, run in runs.items()}, dataset),
    )


def _first(found: Mapping[str, Sequence[Entry]], dataset: str) -> dict[str, Entry]:
    """The first entry of a set by run, where there is one."""
    firsts = {run: next((each for each in entries if each.dataset == dataset), None) for run, entries in found.items()}
    return {run: entry for run, entry in firsts.items() if entry is not None}


def glance_tables(sets: Sequence[SetResults], searched: Iterable[list[str]]) -> Iterator[Table]:
    """All sets in one table; of those that were searched the first cells are given."""
    headings = ("run", "set", "figure", "value", "95 % interval", "EER", f"FNMR at FMR {far_name(GLANCE_FMR)}")
    rows = [
        [run, each.dataset, *told, *_errors(each.figures.get(run))]
        for each in sets
        for run, told in [
            *((run, _accuracy(found)) for run, found in each.details.items()),
            *((run, _usual_rate(found)) for run, found in each.rates.items()),
        ]
    ]
    rows += [[*row, "-", "-", "-"] for row in searched]
    if rows:
        yield by_run(headings, rows)


def by_run(headings: Sequence[str], rows: list[list[str]], remark: str = "", title: str = "") -> Table:
    """A table whose first column names the run: left out where there is one only, since phones are narrow."""
    if len({row[0] for row in rows}) == 1:
        headings, rows = headings[1:], [row[1:] for row in rows]
    return Table(headings, rows, remark, title)


def _accuracy(details: document.PairDetails) -> list[str]:
    return ["accuracy", f"{fmean(details.folds):.5f}", _interval(details.interval)]


def _usual_rate(rates: document.IjbRates) -> list[str]:
    far = far_name(TEMPLATES_FAR)
    return [f"TAR at FAR {far}", number(rates.nearest.get(far)), _interval(rates.intervals.get(far))]


def _errors(found: set_figures.SetFigures | None) -> list[str]:
    """Of the curve of a set."""
    if found is None:
        return ["-", "-"]
    return [f"{found.eer:.5f}", number(next((each.fnmr for each in found.points if each.far == GLANCE_FMR), None))]


def comparison_table(compared: Sequence[comparison.Compared]) -> Table:
    """A row for each run beside the first one."""
    rows = [_comparison_row(each) for each in comparison.comparisons_of(compared)]
    notes = " ".join(comparison.notes(compared))
    return by_run(COMPARISON_HEADINGS, rows, f"{COMPARISON_REMARK} {notes}") if rows else Table((), (), notes)


def _comparison_row(each: comparison.Comparison) -> list[str]:
    test, verdict = each.test, VERDICTS[each.test.verdict]
    low, high = (f"{100 * end:+.3f}" for end in test.interval)
    told = [f"{100 * test.difference:+.3f}", f"{low} to {high}", test.probability_text]
    return [each.second, each.dataset, each.figure, verdict, *told, str(test.only_first), str(test.only_second)]


def tables_of(runs: Runs, found: SetResults) -> list[Table]:
    """All that is told of one set."""
    return [*_pair_tables(runs, found), *_ijb_tables(runs, found), *_point_tables(found), *_group_tables(found)]


def _pair_tables(runs: Runs, found: SetResults) -> Iterator[Table]:
    """Accuracy by run."""
    rows = [
        _pair_row(run, details, next(each.pairs for each in runs[run].results if each.dataset == found.dataset))
        for run, details in found.details.items()
    ]
    if rows:
        yield Table(PAIR_HEADINGS, rows, PAIR_REMARK)


def _pair_row(run: str, details: document.PairDetails, pairs: int) -> list[str]:
    """What one run says of one pair set."""
    plain = details.accuracy_without_flip
    return [
        run,
        # From the folds: what a status holds is rounded.
        f"{fmean(details.folds):.5f}",
        f"{pstdev(details.folds):.5f}",
        _interval(details.interval),
        str(pairs),
        "" if plain is None else f"{plain:.5f}",
        f"{details.xnorm:.3f}",
    ]


def _ijb_tables(runs: Runs, found: SetResults) -> Iterator[Table]:
    """Rates of all runs under all choices."""
    rows = [
        row
        for run_name, run in runs.items()
        for rates in run.ijb_details
        if rates.dataset == found.dataset
        for row in _ijb_rows(run_name, rates)
    ]
    if rows:
        yield Table(("", *map(far_name, FARS)), rows, IJB_REMARK)


def _ijb_rows(run_name: str, rates: document.IjbRates) -> list[list[str]]:
    """What one run says of one choice of pooling; of the usual one more."""
    fars = [far_name(far) for far in FARS]
    title = f"{run_name}: {entries.choice_name(rates)}"
    rows = [[title, *(percent(rates.nearest.get(far)) for far in fars)]]
    if rates.intervals:
        rows.append(["at most", *(percent(rates.conservative.get(far)) for far in fars)])
        bounds = (rates.intervals.get(far) for far in fars)
        rows.append(["95 % interval", *("-" if b is None else f"{100 * b[0]:.2f} to {100 * b[1]:.2f}" for b in bounds)])
    return rows


def _point_tables(found: SetResults) -> Iterator[Table]:
    """Thresholds that one can deploy with, and their errors."""
    rows = [
        [run, far_name(point.far), f"{point.threshold:.4f}", _rate(point.fmr), number(point.fnmr),
         _interval(point.interval)]
        for run, points in found.points.items()
        for point in points
    ]  # fmt: skip
    if rows:
        yield by_run(POINT_HEADINGS, rows, POINTS_REMARK, "Operating points")


def _group_tables(found: SetResults) -> Iterator[Table]:
    """What the pairs of each group show, the worst one marked."""
    rows = [
        [run, group.group, str(group.pairs), number(group.accuracy), _interval(group.interval), number(group.eer),
         "worst" * (group is of_set.worst_group)]
        for run, of_set in found.figures.items()
        for group in of_set.groups
    ]  # fmt: skip
    if rows:
        yield by_run(GROUP_HEADINGS, rows, GROUPS_REMARK, "Groups")
    rows = [row for run, of_set in found.figures.items() for row in _group_points(run, of_set)]
    if rows:
        yield by_run(GROUP_POINT_HEADINGS, rows, GROUP_POINTS_REMARK, "Groups at the operating points")


def _group_points(run: str, of_set: set_figures.SetFigures) -> Iterator[list[str]]:
    """Both rates of each group, point by point; the highest ones marked."""
    for far in (point.far for point in of_set.points):
        points = {group.group: each for group in of_set.groups for each in group.points if each.far == far}
        worst = {
            "FMR": set_figures.highest({group: each.fmr for group, each in points.items()}),
            "FNMR": set_figures.highest({group: each.fnmr for group, each in points.items()}),
        }
        for group, each in points.items():
            marks = " and ".join(rate for rate, name in worst.items() if name == group)
            yield [run, far_name(far), group, _rate(each.fmr), _interval(each.fmr_interval), number(each.fnmr),
                   _interval(each.interval), f"worst {marks}" if marks else ""]  # fmt: skip


def percent(rate: float | None) -> str:
    """Two digits, or a dash."""
    return "-" if rate is None else f"{100 * rate:.2f}"


def number(share: float | None) -> str:
    """Five digits, or a dash."""
    return "-" if share is None else f"{share:.5f}"


def _rate(rate: float | None) -> str:
    """Two significant digits, or a dash: rates go over many powers of ten."""
    return "-" if rate is None else f"{rate:.2g}"


def _interval(bounds: tuple[float, float] | None) -> str:
    """Four digits each, or a dash."""
    return "-" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"
