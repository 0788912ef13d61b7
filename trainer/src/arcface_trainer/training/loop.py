"""The training loop of one rank."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import Diverged, Stopped
from arcface_api.resource.status import CheckpointStatus
from arcface_faces.checkpoint.manifest import CheckpointManifest
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.data.loader import Batch, BatchSource
from arcface_trainer.step.train_step import StepResult, TrainStep, Wishes
from arcface_trainer.training.clock import utc_now
from arcface_trainer.training.initial_loss import initial_loss_warning
from arcface_trainer.training.meter import Meter, StepRecord
from arcface_trainer.training.metrics import TrainMetrics
from arcface_trainer.training.schedule import Schedule
from arcface_trainer.training.verification import Verifier

LOG = logging.getLogger(__name__)
LOG_EVERY = 20
"""Steps between log lines."""
SKIPS_IN_A_ROW = 10
"""Steps without finite numbers after which the run has diverged; none of them has changed the weights."""


@dataclass(slots=True)
class TrainingLoop:
    """Steps, figures and checkpoints of one rank; all ranks run it together."""

    config: RunConfig
    manifest: CheckpointManifest
    """What checkpoints of this run say, step and files aside."""
    train_step: TrainStep
    state: TrainingState
    source: BatchSource
    schedule: Schedule
    writer: CheckpointWriter
    meter: Meter
    metrics: TrainMetrics
    is_stop_wanted: Callable[[], bool]
    verifier: Verifier | None = None
    checkpoint: CheckpointStatus | None = None
    """Newest checkpoint of this run."""
    warnings: list[str] = field(default_factory=list)
    """What looks wrong without ending the training."""
    skips_in_a_row: int = 0
    saved_at: float = 0.0

    def run(self) -> None:
        """Train from `meter.step` to the end.

        Raises:
            Stopped: after saving, when any rank was asked to stop.
            Diverged: when the numbers stay infinite.
        """
        with self.source:
            self._train()

    def _train(self) -> None:
        self._verify()  # a run that was stopped at the end of an epoch did not wait for it
        self.saved_at = ended_at = time.monotonic()
        while self.meter.step < self.schedule.total_steps:
            step = self.meter.step
            batch = self.source.take(step)
            wait = time.monotonic() - ended_at
            rate = self.schedule.rate(step)
            self.metrics.data_wait.inc(wait)
            result = self.train_step.run(batch.images, batch.labels, rate, self._wishes(), wait)
            record = StepRecord(result.loss, time.monotonic() - ended_at, result.waits)
            ended_at = time.monotonic()
            self._count(record, result, batch, rate)
            self._check_numbers(result, step)
            is_best = not result.wishes.stop and self._verify()
            if is_best or self._is_save_due(result.wishes):
                self._save()
            ended_at = time.monotonic()
            if result.wishes.stop:
                raise Stopped(
                    f"stopped on request after step {self.meter.step}, the state is saved: run again to go on"
                )

    def _wishes(self) -> Wishes:
        minutes = self.config.checkpoint.every_minutes
        is_overdue = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        return Wishes(stop=self.is_stop_wanted(), save=is_overdue and self.writer.world.is_first)

    def _count(self, record: StepRecord, result: StepResult, batch: Batch, rate: float) -> None:
        self.meter.add(record)
        metrics, meter = self.metrics, self.meter
        metrics.loss.set(result.loss)
        metrics.step_seconds.observe(record.seconds)
        metrics.images.inc(len(batch.labels))
        metrics.images_per_second.set((meter.images_per_second or 0) / self.writer.world.size)
        metrics.step.set(meter.step)
        metrics.epoch.set(meter.step // meter.steps_per_epoch)
        metrics.learning_rate.set(rate)
        metrics.embedding_norm.set(result.embedding_norm)
        if meter.step % LOG_EVERY == 0 or meter.step == meter.total_steps:
            LOG.info("%s learning_rate=%.6g", log_line(meter), rate)

    def _check_numbers(self, result: StepResult, step: int) -> None:
        if step == 0:
            self._check_first_loss(result.loss)
        if result.is_applied:
            self.skips_in_a_row = 0
            return
        self.metrics.skipped_steps.inc()
        self.skips_in_a_row += 1
        LOG.warning("step is left out, loss or gradient is not finite step=%d loss=%s", step, result.loss)
        if self.skips_in_a_row >= SKIPS_IN_A_ROW:
            raise Diverged(
                f"loss or gradient were not finite in {SKIPS_IN_A_ROW} steps in a row up to step {step}: lower "
                "training.optimizer.learningRate or raise training.schedule.warmupEpochs"
            )

    def _check_first_loss(self, measured: float) -> None:
        warning = initial_loss_warning(
            measured,
            self.config.loss,
            self.manifest.class_count,
            self.manifest.model.embedding_size,
            self.manifest.total_batch_size,
        )
        if warning:
            LOG.warning(warning)
            self.warnings = [*self.warnings, warning]  # a new list: another thread may be writing the report

    def _verify(self) -> bool:
        """Judge the network where that is due; returns whether it is the best so far."""
        verifier = self.verifier
        if verifier is None or not verifier.is_due(self.meter.step):
            return False
        started = time.monotonic()
        found = verifier.verify(self.meter.step, self.meter.step // self.meter.steps_per_epoch)
        seconds = time.monotonic() - started
        self.metrics.set_verification(found, seconds)
        accuracies = " ".join(f"{result.dataset}={result.accuracy:.5f}" for result in found.results)
        pairs, is_best = sum(result.pairs for result in found.results), found is verifier.best
        LOG.info("verification %s pairs=%d seconds=%.2f is_best=%s", accuracies, pairs, seconds, is_best)
        return is_best

    def _is_save_due(self, wishes: Wishes) -> bool:
        step = self.meter.step
        is_periodic = step % self.config.checkpoint.every_steps == 0
        return is_periodic or step == self.schedule.total_steps or wishes.stop or wishes.save

    def _save(self) -> None:
        started = time.monotonic()
        step = self.meter.step
        changes = {"step": step, "epoch": step // self.schedule.steps_per_epoch, "saved_at": utc_now()}
        if self.verifier is not None:
            changes |= {"verification": self.verifier.last, "best": self.verifier.best}
        manifest = self.manifest.model_copy(update=changes)
        resumed_from = self.checkpoint.resumed_from_step if self.checkpoint else None
        status = self.writer.save(self.state, manifest)
        self.checkpoint = status.model_copy(update={"resumed_from_step": resumed_from})
        self.saved_at = time.monotonic()
        self.metrics.checkpoint_seconds.set(self.saved_at - started)
        self.metrics.checkpoint_step.set(step)
        LOG.info("checkpoint step=%d seconds=%.2f folder=%s", step, self.saved_at - started, status.path)


def log_line(meter: Meter) -> str:
    """The figures of the recent steps."""
    progress = meter.progress(utc_now())
    left = (progress.estimated_completion_time or progress.updated_at) - progress.updated_at
    return (
        f"step={progress.step}/{progress.total_steps} epoch={progress.epoch} loss={progress.loss or 0:.4f} "
        f"images_per_second={progress.images_per_second or 0:.1f} step_ms={progress.step_milliseconds or 0:.0f} "
        f"data_wait={progress.data_wait_percent or 0:.1f}% eta={str(left).partition('.')[0]}"
    )
