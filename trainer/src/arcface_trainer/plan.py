"""What a training does, decided before its first step. Imports nothing of MindSpore.

Warm-up and polynomial decay follow InsightFace's `lr_scheduler.py` (linear growth, then linear decay to zero).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from arcface_api.contract.recipe import Recipe
from arcface_api.contract.run_config import RunConfig
from arcface_api.resource.spec import LossSpec, ModelSpec, Precision, ScheduleSpec
from arcface_api.resource.status import Verification
from arcface_faces.checkpoint import CheckpointManifest, FileEntry, LossScale, RollBack, SourceCheckpoint
from arcface_faces.datasets.dataset import FaceDataset
from arcface_trainer.data.loader import Sampler


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate as a function of the updates already made."""

    spec: ScheduleSpec
    base_rate: float
    steps_per_epoch: int
    epochs: int

    @property
    def total_steps(self) -> int:
        """Updates of the whole training."""
        return self.steps_per_epoch * self.epochs

    def rate(self, step: int) -> float:
        """Rate of the update that follows `step` updates."""
        warmup = self.spec.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.base_rate * step / warmup
        if self.spec.type == "step":
            milestones = self.spec.milestones or []
            passed = sum(step >= epoch * self.steps_per_epoch for epoch in milestones)
            return self.base_rate * self.spec.gamma**passed
        done = (step - warmup) / (self.total_steps - warmup)
        if self.spec.type == "cosine":
            return self.base_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.base_rate * (1 - done)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """The facts of a run that no step changes, the same on every rank."""

    job: str
    spec_hash: str
    """Hash of what decides the weights; a checkpoint that has no recipe and another hash is not resumed."""
    recipe: Recipe | None = None
    """What decides the weights, by name; a checkpoint with another recipe is not resumed."""
    model: ModelSpec
    loss: LossSpec
    precision: Precision = "fp32"
    """Of the network's trunk."""
    seed: int
    world_size: int
    image_count: int
    """Images of the training set."""
    class_count: int
    """Identities of the training set."""
    data_fingerprint: str
    """What tells the training set from others; a checkpoint of another one is not resumed."""
    content_fingerprint: str
    """The same by all that this release knows of it."""
    total_batch_size: int
    """Images per update over all ranks."""
    micro_batches: int = 1
    """That a rank takes an update's images in, one after another."""
    schedule: Schedule
    source: SourceCheckpoint | None = None
    """What the weights began with; None where they were fresh, and until that has been looked for."""

    @classmethod
    def of(cls, config: RunConfig, sampler: Sampler, faces: FaceDataset) -> Self:
        """The plan of a run over the sampler's order of these images."""
        training = config.training
        return cls(
            job=config.job,
            spec_hash=config.spec_hash,
            recipe=config.recipe,
            model=config.model,
            loss=config.loss,
            precision=config.precision,
            seed=training.seed,
            world_size=sampler.world_size,
            image_count=sampler.dataset_size,
            class_count=faces.class_count,
            data_fingerprint=faces.fingerprint,
            content_fingerprint=faces.content_fingerprint,
            total_batch_size=sampler.global_batch_size,
            micro_batches=sampler.split.micro_batches,
            schedule=Schedule(training.schedule, config.learning_rate, sampler.steps_per_epoch, training.epochs),
        )

    @property
    def total_steps(self) -> int:
        """Updates of the whole training."""
        return self.schedule.total_steps

    def epoch(self, step: int) -> int:
        """Epochs completed after `step` updates."""
        return step // self.schedule.steps_per_epoch

    def manifest(
        self,
        step: int,
        files: Iterable[FileEntry],
        *,
        verification: Verification | None,
        best: Verification | None,
        loss_scale: LossScale | None = None,
        roll_back: RollBack | None = None,
    ) -> CheckpointManifest:
        """What a checkpoint written now, after `step` updates, says about itself."""
        return CheckpointManifest(
            job=self.job,
            spec_hash=self.spec_hash,
            recipe=None if self.recipe is None else dict(self.recipe),
            step=step,
            total_steps=self.total_steps,
            epoch=self.epoch(step),
            total_batch_size=self.total_batch_size,
            world_size=self.world_size,
            seed=self.seed,
            image_count=self.image_count,
            class_count=self.class_count,
            data_fingerprint=self.data_fingerprint,
            content_fingerprint=self.content_fingerprint,
            saved_at=datetime.now(UTC),
            verification=verification,
            best=best,
            loss_scale=loss_scale,
            roll_back=roll_back,
            model=self.model.network,
            source=self.source,
            files=list(files),
        )
