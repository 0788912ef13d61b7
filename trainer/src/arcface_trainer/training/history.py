"""Rank 0 writes the history of the training (`contract.history`) in a thread: no step waits for a disk.

Lines that a disk refuses are kept and tried again with the next ones. A history that cannot be written is a warning,
never the end of a training. Needs no MindSpore.
"""

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from pydantic.alias_generators import to_camel

from arcface_api.contract.history import HISTORY_FILE, HistoryLine, StretchStart
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.resource.status import Verification
from arcface_trainer.background import in_background
from arcface_trainer.metrics import Meter
from arcface_trainer.plan import TrainingPlan

LOG = logging.getLogger(__name__)
MOST_KEPT = 10_000
"""Lines that wait for a disk, 3 MB; of more the oldest are lost."""
PATIENCE_SECONDS = 10.0
"""At the end of a training, which may itself be waited for."""


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines with one call of the system, after a line of its own where the file's last one is cut short."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        is_cut_short = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = memoryview("".join(["\n" * is_cut_short, *(f"{line}\n" for line in lines)]).encode())
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class HistoryWriter:
    """The history of this process's part of a training; without a file, as on all ranks but the first, it is silent."""

    file: Path | None = None
    stretch: StretchStart | None = None
    warnings: list[str] = field(default_factory=list)
    """Why lines are not on the disk, while they are not."""
    _token: str = ""
    """Of the stretch."""
    _kept: list[str] = field(default_factory=list)
    """Lines that are not known to be on the disk."""
    _writing: "Future[None] | None" = None
    _batch: int = 0
    """Lines that are being written: the first ones of `_kept`."""

    @classmethod
    def start(cls, directory: Path, plan: TrainingPlan, identity: RankIdentity, step: int) -> Self:
        """The history in a folder of checkpoints, of a training that goes on after `step` updates."""
        if identity.rank != 0:
            return cls()
        start = StretchStart(
            job=plan.job,
            attempt=identity.attempt,
            world_size=plan.world_size,
            total_batch_size=plan.total_batch_size,
            steps_per_epoch=plan.schedule.steps_per_epoch,
            total_steps=plan.total_steps,
        )
        writer = cls(directory / HISTORY_FILE, start)
        writer.begin(step)
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def begin(self, step: int) -> None:
        """From here on the training goes on from `step`: what was told of later steps counts no more."""
        if self.stretch is not None:
            self._token = token_hex(8)
            self._add(step, step / self.stretch.steps_per_epoch, start=self.stretch)

    def add_figures(self, meter: Meter, learning_rate: float, embedding_norm: float) -> None:
        """Tell of all steps that the meter has, whatever their numbers are."""
        seconds = meter.step_seconds
        figures = {
            "loss": meter.loss,
            "images_per_second": meter.images_per_second,
            "step_milliseconds": None if seconds is None else 1000 * seconds,
            "data_wait_percent": meter.data_wait_percent,
            "loss_scale": meter.recent[-1].loss_scale if meter.recent else None,
            "embedding_norm": embedding_norm,
        }
        finite = {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
        odd = [to_camel(name) for name, value in figures.items() if value is not None and not math.isfinite(value)]
        if "loss" not in odd and not all(math.isfinite(record.loss) for record in meter.recent):
            odd.append("loss")  # of some of the steps
        epoch = meter.step / meter.steps_per_epoch
        self._add(
            meter.step, epoch, steps=len(meter.recent), learning_rate=learning_rate, not_finite=odd or None, **finite
        )

    def add_verification(self, found: Verification) -> None:
        """Tell of a verification."""
        self._add(found.step, float(found.epoch), verification=found)

    def _add(self, step: int, epoch: float, **content: Any) -> None:
        if self.file is None:
            return
        line = HistoryLine(stretch=self._token, at=datetime.now(UTC), step=step, epoch=epoch, **content)
        self._kept.append(line.to_json())
        if self._writing is None or self._writing.done():
            self._take_result()
            self._write(self.file)

    def _write(self, file: Path) -> None:
        """Begin to write what is kept; nothing else may be being written."""
        self._kept = self._kept[-MOST_KEPT:]
        self._batch = len(self._kept)
        self._writing = in_background(partial(append_lines, file, tuple(self._kept)), "history")

    def _take_result(self) -> None:
        """Let go of lines that are on the disk, or tell why they are not."""
        if self._writing is None:
            return
        error, self._writing = self._writing.exception(), None
        if error is None:
            self._kept, self.warnings = self._kept[self._batch :], []
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        warning = f"{self.file}: the history cannot be written ({reason}): free space or mend the volume"
        if warning not in self.warnings:
            LOG.warning(warning)
            self.warnings = [warning]  # a new list: another thread may be writing the report

    def _finish(self) -> None:
        """Wait, not for ever, until all that is kept is on the disk."""
        self._await()
        if self.file is not None and self._writing is None and self._kept:
            self._write(self.file)
            self._await()

    def _await(self) -> None:
        if self._writing is None:
            return
        try:
            self._writing.exception(PATIENCE_SECONDS)
        except TimeoutError:
            LOG.warning("the end of the history is not written, its disk does not answer file=%s", self.file)
            return
        self._take_result()
