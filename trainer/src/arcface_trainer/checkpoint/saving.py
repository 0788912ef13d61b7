"""One save at a time, behind the steps of the training: files are written in threads, and all ranks agree on their end.

It ends in a checkpoint, or in a copy in the memory of each pod (`pod_memory`), of which there is nothing to publish.

A save has two stages: every rank writes its files, then rank 0 publishes them, or discards them where a rank failed.
No rank may enter a collective before all others will, so none waits here for another's disk. Instead a bit of each
rank travels with the votes of every step: whether it has ended an odd number of stages. The stage under way has ended
everywhere at the step whose bits are all the one that it leads to; only then hashes and failures are exchanged. The
bit alternates (the alternating-bit protocol of Bartlett, Scantlebury and Wilkinson 1969), so that the votes of a step
that was launched before a stage began are not taken for its end. That holds for stages which end by votes. Where ranks
wait for a save instead (`finish`) and begin another one, the bits of a step in flight may be those of the save before,
and `Checkpointing` leaves them out.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from arcface_api.errors import ArcFaceError, Diverged
from arcface_api.resource.status import CheckpointStatus
from arcface_faces.checkpoint import FileEntry
from arcface_trainer.background import in_background
from arcface_trainer.checkpoint.pod_memory import PodMemory
from arcface_trainer.checkpoint.state import Snapshot
from arcface_trainer.checkpoint.writer import CheckpointWriter

WORDS = 8
"""Of 32 bits in a SHA-256."""
THREAD = "checkpoint"


class _StageEnd(IntEnum):
    """How a stage ended on a rank, as ranks tell each other."""

    DONE = 0
    FAILED = 1
    NOT_FINITE = 2


@dataclass(frozen=True, slots=True)
class SaveResult:
    """How a save ended; all ranks learn it at the same step."""

    step: int
    failure: ArcFaceError | None = None
    """Why nothing was published: this rank's own reason, or which rank has one."""
    is_own_failure: bool = False
    status: CheckpointStatus | None = None
    """Of what was published; rank 0 alone knows it."""
    is_copy: bool = False
    """Whether it went to the pods' memory."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """The first stage."""

    snapshot: Snapshot
    work: "Future[list[FileEntry]]"
    is_copy: bool


@dataclass(frozen=True, slots=True)
class _Publishing:
    """The second stage; of a save that failed, the discarding."""

    result: SaveResult
    """As the first stage left it."""
    work: "Future[CheckpointStatus | None]"


class Saver:
    """Saves snapshots; what it exchanges is in step on all ranks, since they begin and advance at the same steps."""

    def __init__(self, writer: CheckpointWriter) -> None:
        self.writer = writer
        self._world = writer.world
        self._stage: _Writing | _Publishing | None = None
        self._ended_stages = 0

    @property
    def is_busy(self) -> bool:
        """Whether a save is under way."""
        return self._stage is not None

    @property
    def is_at_work(self) -> bool:
        """Whether this rank's part of a checkpoint is not done."""
        return self._stage is not None and not self.is_copying and not self._stage.work.done()

    @property
    def is_copying(self) -> bool:
        """Whether what is under way goes to the pods' memory."""
        stage = self._stage
        return stage.is_copy if isinstance(stage, _Writing) else stage is not None and stage.result.is_copy

    @property
    def bit(self) -> int:
        """This rank's vote of the next step: 1 after an odd number of stages."""
        has_ended = self._stage is not None and self._stage.work.done()
        return (self._ended_stages + has_ended) % 2

    def begin(self, snapshot: Snapshot, memory: PodMemory | None = None) -> None:
        """Write a snapshot, to the pod's memory if that is given, while the training goes on; no other is under way."""
        write = self.writer.write if memory is None else memory.write
        self._stage = _Writing(snapshot, in_background(partial(write, snapshot), THREAD), memory is not None)

    def is_stage_over(self, bits: int) -> bool:
        """Whether the bits of a step, added up over ranks, say that the stage under way has ended on all of them."""
        return self.is_busy and bits == self._world.size * ((self._ended_stages + 1) % 2)

    def advance(self, bits: int) -> SaveResult | None:
        """End the stage that is over; the result where it was the last one."""
        return self._end_stage() if self.is_stage_over(bits) else None

    def finish(self) -> SaveResult | None:
        """Wait for the save that is under way and for the slowest disk; None where there is none."""
        result = None
        while self.is_busy:
            result = self._end_stage()
        return result

    def _end_stage(self) -> SaveResult | None:
        stage, self._stage = self._stage, None
        self._ended_stages += 1
        if isinstance(stage, _Writing):
            self._stage = self._publishing(stage)
        return self._published(stage) if isinstance(stage, _Publishing) else None

    def _publishing(self, stage: _Writing) -> _Publishing:
        """Have rank 0 publish what all ranks have written, or discard it."""
        snapshot = stage.snapshot
        failure = self._failure(stage.work, snapshot.step)
        files = [] if failure is not None else stage.work.result()
        rows = self._exchange(failure, *files[:1])
        result = replace(_joint_result(snapshot.step, failure, rows), is_copy=stage.is_copy)
        work: Callable[[], CheckpointStatus | None] = _nothing
        if stage.is_copy:
            pass  # each rank has its own, and there is nothing to publish
        elif self._world.is_first and result.failure is not None:
            work = partial(self.writer.discard, snapshot.step)
        elif self._world.is_first:
            joined = [*files[1:], *self._head_entries(rows)]
            work = partial(
                self.writer.publish,
                snapshot.step,
                joined,
                verification=snapshot.verification,
                best=snapshot.best,
                loss_scale=snapshot.loss_scale,
                roll_back=snapshot.roll_back,
            )
        return _Publishing(result, in_background(work, THREAD))

    def _published(self, stage: _Publishing) -> SaveResult:
        """What became of it on rank 0."""
        step = stage.result.step
        failure = self._failure(stage.work, step)
        rows = self._exchange(failure)
        if stage.result.failure is not None:
            return stage.result
        result = replace(_joint_result(step, failure, rows), is_copy=stage.result.is_copy)
        return result if result.failure is not None else replace(result, status=stage.work.result())

    def _failure(self, work: "Future[Any]", step: int) -> ArcFaceError | None:
        """Why a stage failed on this rank."""
        try:
            work.result()
        except Diverged as error:
            return error
        except (OSError, SafetensorError, ArcFaceError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
            return ArcFaceError(
                f"{self.writer.directory}: the checkpoint of step {step} cannot be written ({reason}): free space or "
                "mend the volume"
            )
        return None

    def _exchange(self, failure: ArcFaceError | None, head: FileEntry | None = None) -> NDArray[np.int32]:
        """How the stage ended on each rank, with hash and size of its file: (world_size, 3 + WORDS)."""
        end = _StageEnd.DONE
        if failure is not None:
            end = _StageEnd.NOT_FINITE if isinstance(failure, Diverged) else _StageEnd.FAILED
        words, size = [0] * WORDS, 0
        if head is not None:
            words, size = np.frombuffer(bytes.fromhex(head.sha256), ">i4").astype(int).tolist(), head.size
        return self._world.all_gather([end, *words, size >> 31, size & 0x7FFFFFFF])

    def _head_entries(self, rows: NDArray[np.int32]) -> list[FileEntry]:
        """Entries of all ranks' heads: only hash and size travel, the rest follows from the rank."""
        return [
            self.writer.head_entry(
                rank, size=int(row[-2]) << 31 | int(row[-1]), sha256=row[1 : 1 + WORDS].astype(">i4").tobytes().hex()
            )
            for rank, row in enumerate(rows)
        ]


def _joint_result(step: int, own: ArcFaceError | None, rows: NDArray[np.int32]) -> SaveResult:
    """The end of a stage over all ranks."""
    if own is not None:
        return SaveResult(step, own, is_own_failure=True)
    ends = rows[:, 0].tolist()
    failed = next((rank for rank, end in enumerate(ends) if end != _StageEnd.DONE), None)
    if failed is None:
        return SaveResult(step)
    kind = Diverged if ends[failed] == _StageEnd.NOT_FINITE else ArcFaceError
    return SaveResult(step, kind(f"the checkpoint of step {step} failed on rank {failed}: see that rank's log"))


def _nothing() -> None:
    """What ranks beside the first one do while it publishes."""
