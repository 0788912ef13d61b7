"""The page of one or several trainings: their curves over epochs, and a table for each."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.axes import Axes

from arcface_api.contract.history import History, HistoryLine
from arcface_evaluator.report import history_table, provenance
from arcface_evaluator.report.pages import page, plots

REMARK = (
    "Figures are means over the steps of a log interval; img/s of all ranks, the median over the training; data wait: "
    "of the rank that waited longest for its images. Accuracies are means over the sets. A dotted line: a new "
    "stretch, as the training was started again or went back to a checkpoint; a cross: a figure was no finite number."
)
EPOCH_REMARK = "Means over the log intervals of the epoch, by their steps in it, and the verification after it."
LARGEST_DRAWN = 1e30
"""Beyond it a figure is a gap: axes of numbers that are still larger cannot be divided, and show nothing."""
FEW_POINTS = 60
"""That are shown as such."""
CURVES: dict[str, tuple[str, Callable[[HistoryLine], float | None]]] = {
    "loss": ("loss", lambda line: line.loss),
    "learning rate": ("learning rate", lambda line: line.learning_rate),
    "speed": ("images per second", lambda line: line.images_per_second),
    "waiting for images": ("share of the time in %", lambda line: line.data_wait_percent),
    "length of the embeddings": ("length", lambda line: line.embedding_norm),
    "loss scale": ("factor", lambda line: line.loss_scale),
}


def write_page(directory: Path, histories: history_table.Histories) -> Path:
    """Write the page of trainings, by name, into a folder; the path of the page."""
    rows = [history_table.run_row(name, history) for name, history in histories.items()]
    drawn = [*_figure_plots(histories), *_accuracy_plots(histories)]
    return page.Page(
        file="history.html",
        title="Training of " + ", ".join(histories),
        sections=[
            page.Section("Course", [page.Table(history_table.RUN_HEADINGS, rows, REMARK)], drawn),
            *(_epoch_section(name, history) for name, history in histories.items()),
        ],
        origins_title="Trainings",
        origins=[_origin_of(name, history) for name, history in histories.items()],
    ).write(directory)


def _epoch_section(name: str, history: History) -> page.Section:
    """The table of one training."""
    headings, rows = history_table.epoch_headings(history), history_table.epoch_rows(history)
    return page.Section(name, [page.Table(headings, rows, EPOCH_REMARK)])


def _origin_of(name: str, history: History) -> page.Origin:
    """What a training is, and the file that tells of it."""
    start, facts = history.start, []
    if start is not None:
        facts = [(field, str(value)) for field, value in start.model_dump(by_alias=True, exclude_none=True).items()]
    begun = [f"step {line.step} at {line.at:%Y-%m-%d %H:%M:%S %Z}" for line in history.starts]
    facts += [("stretches from", ", ".join(begun)), ("lines that cannot be read", str(history.unreadable))]
    return page.Origin(name, facts, [] if history.file is None else [provenance.InputFile.of(history.file)])


def _figure_plots(histories: history_table.Histories) -> Iterator[plots.Plot]:
    """A plot for each figure that any of the trainings tells."""
    for caption, (up, figure) in CURVES.items():
        if any(figure(line) is not None for history in histories.values() for line in history.figures):
            yield _curves_plot(histories, caption, up, figure)


def _curves_plot(
    histories: history_table.Histories, caption: str, up: str, figure: Callable[[HistoryLine], float | None]
) -> plots.Plot:
    """A curve for each training, with gaps where a figure was no finite number or is beyond all measure."""

    def paint(axes: Axes) -> None:
        for name, history in histories.items():
            points = [(line.epoch, figure(line)) for line in history.figures]
            values = [math.nan if value is None or abs(value) > LARGEST_DRAWN else value for _, value in points]
            _draw(axes, name, history, [epoch for epoch, _ in points], values)
        for history in histories.values():
            odd = [line.epoch for line in history.figures if line.not_finite]
            axes.plot(odd, [0.02] * len(odd), "x", color=plots.WRONG, transform=axes.get_xaxis_transform())
        axes.legend()

    return plots.draw(caption, "epoch", up, paint)


def _accuracy_plots(histories: history_table.Histories) -> Iterator[plots.Plot]:
    """A plot for each set, with a curve for each training that was verified on it."""
    for dataset in history_table.datasets_of(histories.values()):
        yield _accuracy_plot(histories, dataset)


def _accuracy_plot(histories: history_table.Histories, dataset: str) -> plots.Plot:
    def paint(axes: Axes) -> None:
        for name, history in histories.items():
            found = [
                (float(verification.epoch), result.accuracy)
                for verification in history.verifications
                for result in verification.results
                if result.dataset == dataset
            ]
            _draw(axes, name, history, [epoch for epoch, _ in found], [accuracy for _, accuracy in found])
        axes.legend(loc="lower right")

    return plots.draw(f"accuracy on {dataset}", "epoch", f"accuracy on {dataset}", paint)


def _draw(axes: Axes, name: str, history: History, epochs: list[float], values: list[float]) -> None:
    """The curve of one training, and where its further stretches begin."""
    marker = "." if len(epochs) <= FEW_POINTS else ""
    (curve,) = axes.plot(epochs, values, label=plots.legend_name(name), marker=marker)
    for start in history.starts[1:]:
        axes.axvline(start.epoch, color=curve.get_color(), linestyle=":", linewidth=0.8, zorder=0)
