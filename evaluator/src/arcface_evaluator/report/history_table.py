"""The course of trainings in numbers: a row for each training, and of one training a row for each epoch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.table import Table
from rich.text import Text

from arcface_api.contract.history import History, HistoryLine
from arcface_api.resource.status import Verification
from arcface_evaluator.report import provenance

Histories = Mapping[str, History]
"""By the names that people are shown."""
_Figure = Callable[[HistoryLine], float | None]
USUAL_STEPS = 20
"""Of the lines of older releases, which do not tell how many steps they are over."""
LONG_LOSS = 1e5
"""From here on a loss has its leading digits alone: one that runs away comes to 39 of them."""
RUN_HEADINGS = ("", "step", "epoch", "loss", "img/s", "data wait", "ranks", "stretches", "accuracy", "best")
EPOCH_HEADINGS = ("epoch", "step", "loss", "learning rate", "img/s", "data wait")


def read_histories(paths: Sequence[Path]) -> dict[str, History]:
    """Histories by as much of the ends of their paths as tells them apart; InvalidInput where one cannot be read.

    The names are relative paths, and text: pages, event files and terminals take no others.
    """
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    return {name: History.read(folder) for name, folder in provenance.named_apart(folders).items()}


def runs_table(histories: Histories) -> Table:
    """A row for each training, without accuracies where none of them was verified."""
    headings = RUN_HEADINGS if datasets_of(histories.values()) else RUN_HEADINGS[: RUN_HEADINGS.index("accuracy")]
    return _table("", headings, [run_row(name, history)[: len(headings)] for name, history in histories.items()])


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
        "" if not (rates := _told(figures, lambda line: line.images_per_second)) else f"{median(rates):.0f}",
        _mean(figures, lambda line: line.data_wait_percent, _seconds, "{:.1f} %".format),
        "" if start is None else str(start.world_size),
        str(len(history.starts)),
        "" if not history.verifications else f"{_mean_accuracy(history.verifications[-1]):.5f}",
        "" if best is None else f"{_mean_accuracy(best):.5f} at step {best.step}",
    ]


def epoch_headings(history: History) -> tuple[str, ...]:
    """What `epoch_rows` tells."""
    return (*EPOCH_HEADINGS, *datasets_of([history]))


def epoch_rows(history: History) -> list[list[str]]:
    """Means over the steps or the time of an epoch's log intervals, and the accuracies after it.

    An interval that crosses an epoch's end counts for each epoch by the steps in it; for the last one alone where the
    history does not tell how many steps it or an epoch has.
    """
    lines: dict[int, list[HistoryLine]] = {}
    for line in history.figures:
        for epoch, part in _by_epoch(line, None if history.start is None else history.start.steps_per_epoch):
            lines.setdefault(epoch, []).append(part)
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


def _by_epoch(line: HistoryLine, epoch_steps: int | None) -> list[tuple[int, HistoryLine]]:
    """A line's parts by their epochs; a learning rate has the last one alone, whose step it is of."""
    steps = line.steps or 0
    if epoch_steps is None or not 0 < steps <= USUAL_STEPS:  # trainers write no longer ones, older releases none
        return [(math.ceil(line.epoch), line)]
    begin = max(0, line.step - steps)
    ends = [*range((begin // epoch_steps + 1) * epoch_steps, line.step, epoch_steps), line.step]
    parts = [line.model_copy(update={"step": end, "learning_rate": None}) for end in ends[:-1]] + [line]
    return [
        (math.ceil(end / epoch_steps), part.model_copy(update={"steps": end - start}))
        for start, end, part in zip([begin, *ends], ends, parts, strict=False)
    ]


def _epoch_cells(epoch: int, lines: Sequence[HistoryLine]) -> list[str]:
    """What the log intervals of an epoch say together."""
    rates = _told(lines, lambda line: line.learning_rate)
    return [
        str(epoch),
        str(lines[-1].step) if lines else "",
        _mean(lines, lambda line: line.loss, _steps, _loss),
        f"{rates[-1]:.6g}" if rates else "",
        _mean(lines, lambda line: line.images_per_second, _seconds, "{:.0f}".format),
        _mean(lines, lambda line: line.data_wait_percent, _seconds, "{:.1f} %".format),
    ]


def _accuracy_cells(verification: Verification | None, datasets: Sequence[str]) -> list[str]:
    """An accuracy for each set; nothing where it was not judged."""
    found = {} if verification is None else {result.dataset: result.accuracy for result in verification.results}
    return [f"{found[name]:.5f}" if name in found else "" for name in datasets]


def _mean(
    lines: Iterable[HistoryLine], figure: _Figure, weight: Callable[[HistoryLine], float], shown: Callable[[float], str]
) -> str:
    """The weighted mean of a figure over those lines that tell it; nothing where none does."""
    weighted = [(value, weight(line)) for line in lines if (value := figure(line)) is not None]
    total = sum(share for _, share in weighted)
    return shown(sum(value * share for value, share in weighted) / total) if total > 0 else ""


def _told(lines: Iterable[HistoryLine], figure: _Figure) -> list[float]:
    return [value for line in lines if (value := figure(line)) is not None]


def _steps(line: HistoryLine) -> int:
    """What a line is over: one before a save or a copy is over few steps."""
    return USUAL_STEPS if line.steps is None else line.steps


def _seconds(line: HistoryLine) -> float:
    """The time that a line is over; steps where it tells none."""
    return _steps(line) * (1.0 if line.step_milliseconds is None else max(line.step_milliseconds, 0.0) / 1000)


def _loss(loss: float | None) -> str:
    if loss is None:
        return "not finite"
    return f"{loss:.4f}" if abs(loss) < LONG_LOSS else f"{loss:.4g}"


def _mean_accuracy(verification: Verification) -> float:
    return verification.mean_accuracy


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=Text(title) if title else None)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # names from outside are text, whatever brackets they hold
    return table
