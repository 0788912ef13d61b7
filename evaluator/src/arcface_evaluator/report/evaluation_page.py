"""The page of one or several evaluations: a section for each set with its curves, scores and hardest pairs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np

from arcface_evaluator.metrics import roc
from arcface_evaluator.report import document, entries, page

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

Runs = Mapping[str, document.EvaluationFile]


def write_page(directory: Path, runs: Runs, hardest: Sequence[entries.HardPairs] = ()) -> Path:
    """Write the page of one or several runs, by name, into a folder; the path of the page."""
    return page.Page(
        file="report.html",
        title="Verification of " + ", ".join(runs),
        sections=[*_pair_sections(runs, hardest), *_ijb_sections(runs, hardest)],
        origins_title="Protocol and inputs",
        origins=[_origin_of(*run) for run in runs.items()],
    ).write(directory)


def _pair_sections(runs: Runs, hardest: Sequence[entries.HardPairs]) -> Iterable[page.Section]:
    """A section for each pair set of any run."""
    for dataset in _names_of(result.dataset for run in runs.values() for result in run.results):
        details = {
            run_name: found
            for run_name, run in runs.items()
            if (found := next((item for item in run.details if item.dataset == dataset), None)) is not None
        }
        rows = [_pair_row(run_name, runs[run_name], found) for run_name, found in details.items()]
        folds = page.Plot("folds", _folds_figure({run_name: found.folds for run_name, found in details.items()}))
        plots = [*_curve_plots(runs, dataset), folds]
        yield page.Section(dataset, PAIR_HEADINGS, rows, PAIR_REMARK, plots, _pairs_of_set(hardest, dataset))


def _pair_row(run_name: str, run: document.EvaluationFile, details: document.PairDetails) -> list[str]:
    """What one run says of one pair set."""
    result = next(result for result in run.results if result.dataset == details.dataset)
    low, high = details.interval
    plain = details.accuracy_without_flip
    return [
        run_name,
        # From the folds: what a status holds is rounded.
        f"{fmean(details.folds):.5f}",
        f"{pstdev(details.folds):.5f}",
        f"{low:.4f} to {high:.4f}",
        str(result.pairs),
        "" if plain is None else f"{plain:.5f}",
        f"{details.xnorm:.3f}",
    ]


def _ijb_sections(runs: Runs, hardest: Sequence[entries.HardPairs]) -> Iterable[page.Section]:
    """A section for each IJB set of any run."""
    headings = ("", *(roc.far_name(far) for far in roc.FARS))
    for dataset in _names_of(result.dataset for run in runs.values() for result in run.ijb):
        rows = [
            row
            for run_name, run in runs.items()
            for rates in run.ijb_details
            if rates.dataset == dataset
            for row in _ijb_rows(run_name, rates)
        ]
        yield page.Section(
            dataset, headings, rows, IJB_REMARK, _curve_plots(runs, dataset), _pairs_of_set(hardest, dataset)
        )


def _ijb_rows(run_name: str, rates: document.IjbRates) -> list[list[str]]:
    """What one run says of one choice of pooling; of the usual one more."""
    fars = [roc.far_name(far) for far in roc.FARS]
    title = f"{run_name}: {entries.choice_name(rates)}"
    rows = [[title, *(_percent(rates.nearest.get(far)) for far in fars)]]
    if rates.intervals:
        rows.append(["at most", *(_percent(rates.conservative.get(far)) for far in fars)])
        bounds = (rates.intervals.get(far) for far in fars)
        rows.append(["95 % interval", *("-" if b is None else f"{100 * b[0]:.2f} to {100 * b[1]:.2f}" for b in bounds)])
    return rows


def _percent(rate: float | None) -> str:
    """Two digits, or a dash."""
    return "-" if rate is None else f"{100 * rate:.2f}"


def _curve_plots(runs: Runs, dataset: str) -> list[page.Plot]:
    """The curves of all runs in one plot, then the scores of each."""
    curves: dict[str, document.ScoreCurves] = {}
    for run_name, run in runs.items():
        curves.update((run_name, curve) for curve in run.curves if curve.dataset == dataset)
    if not curves:
        return []
    histograms = [page.Plot(f"scores of {run_name}", _histogram_figure(curve)) for run_name, curve in curves.items()]
    return [page.Plot("ROC", _roc_figure(curves)), *histograms]


def _origin_of(run_name: str, run: document.EvaluationFile) -> page.Origin:
    """Protocol and inputs of a run."""
    facts = [(field, str(value)) for field, value in run.protocol.model_dump(by_alias=True).items()]
    checkpoint = [("checkpoint", run.checkpoint)] if run.checkpoint is not None else []
    return page.Origin(run_name, [*checkpoint, *facts], list(run.inputs))


def _names_of(datasets: Iterable[str]) -> list[str]:
    """Each once, in the order of their first appearance."""
    return list(dict.fromkeys(datasets))


def _pairs_of_set(hardest: Sequence[entries.HardPairs], dataset: str) -> list[entries.HardPairs]:
    """Those of one set."""
    return [group for group in hardest if group.dataset == dataset]


def _roc_figure(curves: Mapping[str, document.ScoreCurves]) -> bytes:
    """Curves of one set by run, with the operating points marked."""
    figure, axes = page.empty_figure("false accept rate", "true accept rate")
    lowest = min(min((rate for rate in curve.fpr if rate > 0), default=1.0) for curve in curves.values())
    for name, curve in curves.items():
        axes.step(curve.fpr, curve.tpr, where="post", label=name)
    for far in roc.FARS:
        if far >= lowest:
            axes.axvline(far, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(lowest / 1.5, 1)
    axes.set_ylim(top=1.005)
    axes.legend(loc="lower right")
    return page.png_of(figure)


def _histogram_figure(curves: document.ScoreCurves) -> bytes:
    """Shares of the genuine and the impostor pairs by score."""
    figure, axes = page.empty_figure(f"score ({curves.protocol})", "share of the pairs")
    edges = np.linspace(curves.lowest, curves.highest, len(curves.genuine) + 1)
    for name, counts in (("impostors", curves.impostors), ("genuine", curves.genuine)):
        axes.stairs(
            np.array(counts) / max(sum(counts), 1), edges, fill=True, alpha=0.55, label=f"{name}: {sum(counts)}"
        )
    axes.legend()
    return page.png_of(figure)


def _folds_figure(folds: Mapping[str, Sequence[float]]) -> bytes:
    """Accuracy on each fold by run."""
    figure, axes = page.empty_figure("fold", "accuracy")
    width = 0.8 / len(folds)
    for place, (name, accuracies) in enumerate(folds.items()):
        positions = np.arange(1, len(accuracies) + 1) + (place - (len(folds) - 1) / 2) * width
        axes.bar(positions, accuracies, width, label=name)
    lowest = min(min(accuracies) for accuracies in folds.values())
    axes.set_ylim(max(0.0, lowest - 0.02), 1.0)
    axes.set_xticks(range(1, 11))
    axes.legend(loc="lower right")
    return page.png_of(figure)
