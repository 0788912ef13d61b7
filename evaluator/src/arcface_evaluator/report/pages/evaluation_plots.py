"""Plots of evaluations: ROC and DET on logarithmic axes, histograms with operating points, folds, differences."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import NullLocator

from arcface_evaluator.metrics.roc import far_name
from arcface_evaluator.report import comparison, document, figures
from arcface_evaluator.report.pages import plots

Curves = Mapping[str, document.ScoreCurves]
"""By the name of their run."""
Points = Mapping[str, Sequence[figures.OperatingPoint]]
"""Likewise."""
CHARACTER = 0.0175
"""Of a histogram's scores, below a character of a label: of thresholds nearer than a label is wide one has it."""
FMR, FNMR = "false match rate (FMR)", "false non-match rate (FNMR)"


def roc_plot(curves: Curves, points: Points) -> plots.Plot:
    """Curves of one set by run, operating points as dots."""

    def paint(axes: Axes) -> None:
        left = _below_one_pair(curve.impostors for curve in curves.values())
        for (run, curve), colour in zip(curves.items(), cycle(plots.SERIES)):
            axes.step(np.maximum(curve.fpr, left), curve.tpr, where="post", color=colour, label=plots.legend_name(run))
            for point in points.get(run, ()):
                if point.fmr and point.fnmr is not None:
                    axes.plot(point.fmr, 1 - point.fnmr, "o", color=colour, markersize=4)
        _decades(axes, left)
        axes.set_ylim(top=1 + 0.02 * (1 - axes.get_ylim()[0]))
        axes.legend(loc="lower right")

    return plots.draw("ROC", FMR, "true match rate", paint)


def det_plot(curves: Curves, points: Points) -> plots.Plot:
    """The errors of one set by run, both on logarithmic axes; below one pair an error is drawn on the edge."""

    def paint(axes: Axes) -> None:
        left = _below_one_pair(curve.impostors for curve in curves.values())
        bottom = _below_one_pair(curve.genuine for curve in curves.values())
        for (run, curve), colour in zip(curves.items(), cycle(plots.SERIES)):
            fnmr = np.maximum(1 - np.array(curve.tpr), bottom)
            axes.step(np.maximum(curve.fpr, left), fnmr, where="post", color=colour, label=plots.legend_name(run))
            for point in points.get(run, ()):
                if point.fmr and point.fnmr:
                    axes.plot(point.fmr, point.fnmr, "o", color=colour, markersize=4)
        diagonal = max(left, bottom)
        axes.plot([diagonal, 1], [diagonal, 1], ":", color=plots.MUTED, linewidth=1, label="equal errors")
        _decades(axes, left)
        axes.set_yscale("log")
        axes.set_ylim(bottom, 1)
        _name_decades(axes.yaxis)
        axes.legend()

    return plots.draw("DET", FMR, FNMR, paint)


def histogram_plot(caption: str, curves: document.ScoreCurves, points: Sequence[figures.OperatingPoint]) -> plots.Plot:
    """Shares of the genuine and the impostor pairs by score, and the thresholds of operating points by their FMR."""

    def paint(axes: Axes) -> None:
        edges = np.linspace(curves.lowest, curves.highest, len(curves.genuine) + 1)
        kinds = (("impostors", curves.impostors, plots.SERIES[1]), ("genuine", curves.genuine, plots.SERIES[0]))
        for name, counts, colour in kinds:
            shares = np.array(counts) / max(sum(counts), 1)
            axes.stairs(shares, edges, fill=True, alpha=0.5, color=colour, label=f"{name}: {sum(counts)}")
        labelled = np.inf
        for point in sorted(points, key=lambda point: point.far):
            axes.axvline(point.threshold, color=plots.INK, linewidth=0.8, linestyle="--")
            name = far_name(point.far)
            if labelled - point.threshold > CHARACTER * len(name) * (curves.highest - curves.lowest):
                axes.text(point.threshold, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
                labelled = point.threshold
        axes.legend()

    return plots.draw(caption, f"score ({curves.protocol})", "share of the pairs", paint)


def folds_plot(folds: Mapping[str, Sequence[float]]) -> plots.Plot:
    """Accuracy on each fold by run: points, since an axis that does not begin at 0 would make bars lie."""

    def paint(axes: Axes) -> None:
        for place, ((run, accuracies), colour) in enumerate(zip(folds.items(), cycle(plots.SERIES))):
            beside = 0.12 * (place - (len(folds) - 1) / 2)
            positions = np.arange(1, len(accuracies) + 1) + beside
            axes.plot(positions, accuracies, "o", color=colour, label=plots.legend_name(run))
            axes.axhline(fmean(accuracies), color=colour, linewidth=1, label="_mean")
        longest = max(map(len, folds.values()))
        axes.set_xticks(range(1, longest + 1))
        lowest = min(min(accuracies) for accuracies in folds.values())
        axes.set_ylim(max(0.0, lowest - 0.25 * (1 - lowest) - 0.002), 1 + 0.05 * (1 - lowest) + 0.0005)
        axes.legend(loc="lower right")

    return plots.draw("folds", "fold", "accuracy (line: mean)", paint)


def differences_plot(comparisons: Sequence[comparison.Comparison]) -> plots.Plot:
    """Differences to the first run with their intervals, in percent, the first comparison on top.

    Names of runs, which may be long, are told where there are several only.
    """
    is_one = len({each.second for each in comparisons}) == 1
    labels = [f"{each.dataset} {each.figure}" + ("" if is_one else f"\n{each.second}") for each in comparisons]

    def paint(axes: Axes) -> None:
        rows = range(len(comparisons), 0, -1)
        for row, each in zip(rows, comparisons, strict=True):
            low, high = (100 * end for end in each.test.interval)
            colour = plots.MUTED if each.test.verdict == "undecided" else plots.SERIES[0]
            axes.plot([low, high], [row, row], color=colour, linewidth=2)
            axes.plot(100 * each.test.difference, row, "o", color=colour)
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.set_yticks(rows, labels, fontsize=8)
        axes.set_ylim(0.4, len(comparisons) + 0.6)

    return plots.draw("differences", "difference to the first run in %", "", paint)


def _decades(axes: Axes, left: float) -> None:
    """A logarithmic axis of false match rates up to 1, with a line at each power of ten."""
    axes.set_xscale("log")
    axes.set_xlim(left, 1)
    _name_decades(axes.xaxis)
    axes.grid(visible=True, color=plots.LINE, linewidth=0.6)


def _name_decades(axis: Axis) -> None:
    """1e-3 and the like, nothing between."""
    axis.set_major_formatter(lambda rate, _: "1" if rate == 1 else far_name(rate))
    axis.set_minor_locator(NullLocator())  # eight more a decade take most of the time that a plot takes


def _below_one_pair(counts: Iterable[Sequence[int]]) -> float:
    """Where a logarithmic axis begins: below the rate of one pair among the most, by their counts in bins."""
    return 1 / max(1.5, 1.5 * max(map(sum, counts)))
