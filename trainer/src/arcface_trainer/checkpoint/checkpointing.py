"""When the state of a training is saved, and where one goes on from: the newest checkpoint all ranks can read."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import InvalidInput
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces import checkpoint
from arcface_faces.checkpoint import CheckpointManifest, Tensors
from arcface_trainer.checkpoint.writer import CheckpointWriter, TrainingState, status_of
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.plan import TrainingPlan

LOG = logging.getLogger(__name__)
CANDIDATES = 8
"""Newest checkpoints that are tried."""
NONE = -1


def resume(state: TrainingState, directory: Path, plan: TrainingPlan, world: World) -> CheckpointManifest | None:
    """Load the newest checkpoint that all ranks find sound.

    Args:
        state: filled from the checkpoint.
        directory: folder of the job's checkpoints.
        plan: what a checkpoint of this run must agree with.
        world: all ranks call together.

    Returns:
        The manifest of the checkpoint; None when there is none.

    Raises:
        InvalidInput: where a checkpoint belongs to another run, or there are some and all that were tried are damaged.
        ArcFaceError: where one cannot be read now but may be later; it is not passed over.
    """
    found, steps = _candidates(directory, plan, world)
    for step in steps:
        folder = directory / checkpoint.folder_name(step)
        read = _read(folder, world)
        if world.all_gather([read is not None]).all() and read is not None:
            manifest, backbone, momentum, head = read
            state.load(backbone, momentum, head, source=str(folder))
            state.load_loss_scale(manifest.loss_scale)
            LOG.info("resumed folder=%s", folder)
            return manifest
    if found:
        raise InvalidInput(
            f"{directory}: holds {found} checkpoints, but those that were tried are damaged: mend the volume, move the "
            "newest away to go on from an older one, or move all away to start anew"
        )
    return None


def _candidates(directory: Path, plan: TrainingPlan, world: World) -> tuple[int, list[int]]:
    """Number of folders named like checkpoints, and the steps of the complete ones, newest first, as rank 0 sees them.

    No more than `CANDIDATES` steps.
    """
    found: list[Path] = []
    steps: list[int] = []
    if world.is_first:
        found = checkpoint.checkpoints(directory)
        for folder, manifest in checkpoint.complete_checkpoints(directory):
            _check_same_run(manifest, plan, folder)
            steps.append(manifest.step)
    padded = (steps + [NONE] * CANDIDATES)[:CANDIDATES]
    count, *shared = world.all_gather([len(found), *padded])[0].tolist()
    return count, [step for step in shared if step != NONE]


def _check_same_run(manifest: CheckpointManifest, plan: TrainingPlan, folder: Path) -> None:
    """InvalidInput where a checkpoint comes from another job specification or other images."""
    remedy = "choose another checkpoint.path or remove the folder"
    if manifest.spec_hash != plan.spec_hash:
        raise InvalidInput(f"{folder}: was written for another model, loss, data or training specification: {remedy}")
    for name in ("image_count", "class_count", "total_batch_size", "total_steps"):
        stored, wanted = getattr(manifest, name), getattr(plan, name)
        if stored != wanted:
            raise InvalidInput(f"{folder}: {name} was {stored} and is {wanted} now: {remedy}")


def _read(folder: Path, world: World) -> tuple[CheckpointManifest, Tensors, Tensors, Tensors] | None:
    """Manifest, backbone, momentum and this rank's head; None where one of them is damaged."""
    try:
        manifest = checkpoint.read_manifest(folder)
        classes = checkpoint.class_range(manifest.class_count, world.size, world.rank)
        return (
            manifest,
            checkpoint.read_file(folder, manifest, checkpoint.BACKBONE_FILE),
            checkpoint.read_file(folder, manifest, checkpoint.MOMENTUM_FILE),
            checkpoint.read_head(folder, manifest, classes),
        )
    except InvalidInput as error:
        LOG.warning("checkpoint is passed over reason=%s", error)
        return None


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
        writer = CheckpointWriter(settings, plan, world)
        if world.is_first:
            writer.prepare()
        resumed = resume(state, directory, plan, world)
        if resumed is None:
            return cls(settings, state, writer)
        status = status_of(directory / checkpoint.folder_name(resumed.step), resumed, settings)
        return cls(settings, state, writer, resumed, status.model_copy(update={"resumed_from_step": resumed.step}))

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
        folder = checkpoint.folder_name(step)
        LOG.info("checkpoint step=%d seconds=%.2f folder=%s", step, self.saved_at - started, folder)
