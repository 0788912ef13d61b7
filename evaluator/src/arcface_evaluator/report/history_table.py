"""The course of trainings in numbers: a row for each training, and of one training a row for each epoch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

from rich.table import Table
from rich.text import Text

from arcface_api.contract.history import History, HistoryLine
from arcface_api.resource.status import Verification
from arcface_evaluator.report import provenance

Histories = Mapping[str, History]
"""By the names that people are shown."""
RUN_HEADINGS = ("", "step", "epoch", "loss", "img/s", "data wait", "ranks", "starts", "accuracy", "best")
EPOCH_HEADINGS = ("epoch", "step", "loss", "learning rate", "img/s", "data wait")


def read_histories(paths: Sequence[Path]) -> dict[str, History]:
    """Histories by as much of the ends of their paths as tells them apart; InvalidInput where one cannot be read.

    The names are relative paths, and text: pages, event files and terminals take no others.
    """
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    return {name: History.read(folder) for name, folder in provenance.named_apart(folders).items()}


def runs_table(histories: Histories) -> Table:
    """A row for each training."""
    return _table("", RUN_HEADINGS, [run_row(name, history) for name, history in histories.items()])


def epochs_table(name: str, history: History) -> Table:
    """A row for each epoch of one training."""
    return _table(name, epoch_headings(history), epoch_rows(history))


def run_row(name: str, history: History) -> list[str]:
    """Where a training stands, and how fast it went."""
    figures, start = history.figures, history.start
    last = figures[-1] if figures else None
    done = "0" if last is None else str(last.step)
    best = max(history.verifications, key=_mean_accuracy, default=None)
    return [
        name,
        done if start is None else f"{done}/{start.total_steps}",
        "" if last is None else f"{last.epoch:.2f}",
        "" if last is None else _loss(last.loss),
        _over(figures, lambda line: line.images_per_second, median, "{:.0f}"),
        _over(figures, lambda line: line.data_wait_percent, fmean, "{:.1f} %"),
        "" if start is None else str(start.world_size),
        str(len(history.starts)),
        "" if not history.verifications else f"{_mean_accuracy(history.verifications[-1]):.5f}",
        "" if best is None else f"{_mean_accuracy(best):.5f} at step {best.step}",
    ]


def epoch_headings(history: History) -> tuple[str, ...]:
    """What `epoch_rows` tells."""
    return (*EPOCH_HEADINGS, *datasets_of([history]))


def epoch_rows(history: History) -> list[list[str]]:
    """Means over the log intervals that ended in an epoch, and the accuracies after it."""
    lines: dict[int, list[HistoryLine]] = {}
    for line in history.figures:
        lines.setdefault(math.ceil(line.epoch), []).append(line)
    verified = {verification.epoch: verification for verification in history.verifications}
    sets = datasets_of([history])
    return [
        [*_epoch_cells(epoch, lines.get(epoch, [])), *_accuracy_cells(verified.get(epoch), sets)]
        for epoch in sorted(lines.keys() | verified.keys())
    ]


def datasets_of(histories: Iterable[History]) -> list[str]:
    """Sets that were verified in any of the trainings."""
    verifications = (verification for history in histories for verification in history.verifications)
    return list(dict.fromkeys(result.dataset for verification in verifications for result in verification.results))


def _epoch_cells(epoch: int, lines: Sequence[HistoryLine]) -> list[str]:
    """What the log intervals of an epoch say together."""
    rate = lines[-1].learning_rate if lines else None
    return [
        str(epoch),
        str(lines[-1].step) if lines else "",
        _over(lines, lambda line: line.loss, fmean, "{:.4f}"),
        "" if rate is None else f"{rate:.6g}",
        _over(lines, lambda line: line.images_per_second, fmean, "{:.0f}"),
        _over(lines, lambda line: line.data_wait_percent, fmean, "{:.1f} %"),
    ]


def _accuracy_cells(verification: Verification | None, datasets: Sequence[str]) -> list[str]:
    """An accuracy for each set; nothing where it was not judged."""
    found = {} if verification is None else {result.dataset: result.accuracy for result in verification.results}
    return [f"{found[name]:.5f}" if name in found else "" for name in datasets]


def _over(
    lines: Iterable[HistoryLine],
    figure: Callable[[HistoryLine], float | None],
    middle: Callable[[list[float]], float],
    shown: str,
) -> str:
    """The middle of a figure over those lines that tell it; nothing where none does."""
    values = [value for line in lines if (value := figure(line)) is not None]
    return shown.format(middle(values)) if values else ""


def _loss(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4f}"


def _mean_accuracy(verification: Verification) -> float:
    return verification.mean_accuracy


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=Text(title) if title else None)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # names from outside are text, whatever brackets they hold
    return table
