"""Histories of trainings that nobody ran: ten steps an epoch, a line every five."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from arcface_api.contract.history import HISTORY_FILE, HistoryLine, StretchStart
from support.builders.verifications import found

BEGUN = datetime(2026, 11, 27, tzinfo=UTC)
START = StretchStart(job="faces", world_size=2, total_batch_size=64, steps_per_epoch=10, total_steps=100)


def line(stretch: str, step: int, **content: Any) -> HistoryLine:
    """What a stretch tells of a step."""
    at = BEGUN + timedelta(seconds=step)
    return HistoryLine(stretch=stretch, at=at, step=step, epoch=step / 10, **content)


def figures(stretch: str, *steps: int, **content: Any) -> list[HistoryLine]:
    """Lines with figures, the loss being that of the step."""
    usual = {"learning_rate": 0.1, "images_per_second": 200.0, "data_wait_percent": 4.0, "embedding_norm": 7.0}
    return [line(stretch, step, **{"loss": 10 - step / 20, **usual, **content}) for step in steps]


def lines_of(stretch: str, first: int, last: int) -> list[HistoryLine]:
    """A stretch from one step to another, verified after each epoch on two sets."""
    lines = [line(stretch, first, start=START)]
    for step in range(first + 5, last + 1, 5):
        lines += figures(stretch, step)
        if step % 10 == 0:
            lines.append(line(stretch, step, verification=found(step, 0.5 + step / 1000, 0.6 + step / 1000)))
    return lines


def write_history(folder: Path, *stretches: list[HistoryLine]) -> Path:
    """Write the file into a folder, which is made; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{told.to_json()}\n" for stretch in stretches for told in stretch)
    (folder / HISTORY_FILE).write_text(text)
    return folder
