"""Plots of an evaluation as PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arcface_evaluator.metrics.roc import FARS
from arcface_evaluator.report.document import ScoreCurves

SIZE = (6.4, 4.2)
DOTS_PER_INCH = 120


def roc_figure(curves: Mapping[str, ScoreCurves]) -> bytes:
    """Curves of one set by run, with the operating points marked."""
    figure, axes = _empty("false accept rate", "true accept rate")
    lowest = min(min((rate for rate in curve.fpr if rate > 0), default=1.0) for curve in curves.values())
    for name, curve in curves.items():
        axes.step(curve.fpr, curve.tpr, where="post", label=name)
    for far in FARS:
        if far >= lowest:
            axes.axvline(far, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(lowest / 1.5, 1)
    axes.set_ylim(top=1.005)
    axes.legend(loc="lower right")
    return _png(figure)


def histogram_figure(curves: ScoreCurves) -> bytes:
    """Shares of the genuine and the impostor pairs by score."""
    figure, axes = _empty(f"score ({curves.protocol})", "share of the pairs")
    edges = np.linspace(curves.lowest, curves.highest, len(curves.genuine) + 1)
    for name, counts in (("impostors", curves.impostors), ("genuine", curves.genuine)):
        axes.stairs(
            np.array(counts) / max(sum(counts), 1), edges, fill=True, alpha=0.55, label=f"{name}: {sum(counts)}"
        )
    axes.legend()
    return _png(figure)


def folds_figure(folds: Mapping[str, Sequence[float]]) -> bytes:
    """Accuracy on each fold by run."""
    figure, axes = _empty("fold", "accuracy")
    width = 0.8 / len(folds)
    for place, (name, accuracies) in enumerate(folds.items()):
        positions = np.arange(1, len(accuracies) + 1) + (place - (len(folds) - 1) / 2) * width
        axes.bar(positions, accuracies, width, label=name)
    lowest = min(min(accuracies) for accuracies in folds.values())
    axes.set_ylim(max(0.0, lowest - 0.02), 1.0)
    axes.set_xticks(range(1, 11))
    axes.legend(loc="lower right")
    return _png(figure)


def _empty(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
