"""When the state of a running training is saved, and where the training goes on from."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces.checkpoint import CheckpointManifest, folder_name
from arcface_trainer.checkpoint.resume import resume
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.checkpoint.writer import CheckpointWriter, status_of
from arcface_trainer.distributed.collectives import World
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.training.metrics import TrainMetrics

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Checkpointing:
    """The checkpoints of this run."""

    settings: RunCheckpoint
    state: TrainingState
    writer: CheckpointWriter
    resumed: CheckpointManifest | None = None
    """The checkpoint that the run went on from."""
    newest: CheckpointStatus | None = None
    """Newest checkpoint of this run, as rank 0 reports it; other ranks know what they went on from."""
    saved_at: float = field(default_factory=time.monotonic)
    """Seconds of `time.monotonic` at the last checkpoint, or at the start."""

    @classmethod
    def start(cls, settings: RunCheckpoint, state: TrainingState, plan: TrainingPlan, world: World) -> Self:
        """Make the folder ready and load the newest sound checkpoint into the state; all ranks call together.

        Raises:
            InvalidInput: where the folder cannot be written to, or what it holds is damaged or of another run.
        """
        directory = Path(settings.directory)
        writer = CheckpointWriter(directory, settings.keep_last, plan, world)
        if world.is_first:
            writer.prepare()
        resumed = resume(state, directory, plan, world)
        if resumed is None:
            return cls(settings, state, writer)
        status = status_of(directory / folder_name(resumed.step), resumed, resumed.step)
        return cls(settings, state, writer, resumed, status)

    def is_overdue(self) -> bool:
        """Whether this rank votes to save since the last checkpoint is too old; only the clock of rank 0 counts."""
        minutes = self.settings.every_minutes
        is_old = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        return is_old and self.writer.world.is_first

    def is_due(self, step: int) -> bool:
        """Whether the state after `step` updates is saved whatever the ranks vote."""
        return step % self.settings.every_steps == 0 or step == self.writer.plan.total_steps

    def save(self, step: int, last: Verification | None, best: Verification | None, metrics: TrainMetrics) -> None:
        """Save the state after `step` updates with the last and the best verification; all ranks call together."""
        started = time.monotonic()
        status = self.writer.save(self.state, step, last, best)
        if status is not None:
            resumed_from = None if self.resumed is None else self.resumed.step
            self.newest = status.model_copy(update={"resumed_from_step": resumed_from})
        self.saved_at = time.monotonic()
        metrics.checkpoint_seconds.set(self.saved_at - started)
        metrics.checkpoint_step.set(step)
        LOG.info("checkpoint step=%d seconds=%.2f folder=%s", step, self.saved_at - started, folder_name(step))
