"""The training loop of one rank."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from arcface_api.contract.reports import ReportedFailure, TrainerReport
from arcface_api.errors import Stopped
from arcface_trainer.data.loader import Batch, BatchLoader
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.train_step import StepResult, StepVotes, TrainStep
from arcface_trainer.training.checkpointing import Checkpointing
from arcface_trainer.training.loss_check import LossCheck
from arcface_trainer.training.meter import Meter, StepRecord
from arcface_trainer.training.metrics import TrainMetrics
from arcface_trainer.training.verification import Verifier

LOG = logging.getLogger(__name__)
LOG_EVERY = 20
"""Steps between log lines."""


@dataclass(slots=True)
class TrainingLoop:
    """Steps, figures and checkpoints of one rank; all ranks run it together."""

    plan: TrainingPlan
    rank: int
    train_step: TrainStep
    loader: BatchLoader
    checkpointing: Checkpointing
    verifier: Verifier | None
    is_stop_wanted: Callable[[], bool]
    meter: Meter = field(init=False)
    metrics: TrainMetrics = field(init=False)
    loss_check: LossCheck = field(init=False)

    def __post_init__(self) -> None:
        plan, resumed = self.plan, self.checkpointing.resumed
        step = 0 if resumed is None else resumed.step
        self.meter = Meter(plan.schedule.steps_per_epoch, plan.total_steps, plan.total_batch_size, step)
        self.metrics = TrainMetrics(self.rank)
        self.loss_check = LossCheck(plan)

    def run(self) -> None:
        """Train from `meter.step` to the end.

        Raises:
            Stopped: after saving, when any rank was asked to stop.
            Diverged: when the numbers stay infinite.
        """
        with self.loader:
            self._train()

    def report(self, failure: ReportedFailure | None = None) -> TrainerReport:
        """Rank 0 tells where the training stands, every rank what it skipped and why it failed."""
        report = TrainerReport(skipped_images=len(self.loader.skipped), failure=failure)
        if self.rank != 0:
            return report
        progress = self.meter.progress(datetime.now(UTC))
        if (verifier := self.verifier) is not None:
            verified = {"verification": verifier.last, "best": verifier.best_checkpoint}
            progress = progress.model_copy(update=verified)
        checkpoint, warnings = self.checkpointing.newest, self.loss_check.warnings
        return report.model_copy(update={"progress": progress, "checkpoint": checkpoint, "warnings": warnings})

    def _train(self) -> None:
        self._verify()  # a run that was stopped at the end of an epoch did not wait for it
        ended_at = time.monotonic()
        while self.meter.step < self.plan.total_steps:
            step = self.meter.step
            batch = self.loader.take(step)
            wait = time.monotonic() - ended_at
            rate = self.plan.schedule.rate(step)
            self.metrics.data_wait.inc(wait)
            votes = StepVotes(stop=self.is_stop_wanted(), save=self.checkpointing.is_overdue())
            result = self.train_step.run(batch.images, batch.labels, rate, votes, wait)
            record = StepRecord(result.loss, time.monotonic() - ended_at, result.waits)
            ended_at = time.monotonic()
            self._count(record, result, batch, rate)
            self.loss_check.check(result, step)
            is_best = not result.votes.stop and self._verify()
            if is_best or result.votes.stop or result.votes.save or self.checkpointing.is_due(self.meter.step):
                self._save()
            ended_at = time.monotonic()
            if result.votes.stop:
                raise Stopped(
                    f"stopped on request after step {self.meter.step}, the state is saved: run again to go on"
                )

    def _count(self, record: StepRecord, result: StepResult, batch: Batch, rate: float) -> None:
        """Take a step into the figures."""
        metrics, meter = self.metrics, self.meter
        meter.add(record)
        metrics.loss.set(result.loss)
        metrics.step_seconds.observe(record.seconds)
        metrics.images.inc(len(batch.labels))
        metrics.images_per_second.set((meter.images_per_second or 0) / self.plan.world_size)
        metrics.step.set(meter.step)
        metrics.epoch.set(self.plan.epoch(meter.step))
        metrics.learning_rate.set(rate)
        metrics.embedding_norm.set(result.embedding_norm)
        metrics.skipped_steps.inc(not result.is_applied)
        if meter.step % LOG_EVERY == 0 or meter.step == self.plan.total_steps:
            LOG.info("%s learning_rate=%.6g", meter.log_line(datetime.now(UTC)), rate)

    def _verify(self) -> bool:
        """Judge the network where that is due; returns whether it is the best so far."""
        verifier = self.verifier
        if verifier is None or not verifier.is_due(self.meter.step):
            return False
        started = time.monotonic()
        verification = verifier.verify(self.meter.step)
        seconds = time.monotonic() - started
        self.metrics.set_verification(verification, seconds)
        accuracies = " ".join(f"{result.dataset}={result.accuracy:.5f}" for result in verification.results)
        pairs, is_best = sum(result.pairs for result in verification.results), verification is verifier.best
        LOG.info("verification %s pairs=%d seconds=%.2f is_best=%s", accuracies, pairs, seconds, is_best)
        return is_best

    def _save(self) -> None:
        last, best = (self.verifier.last, self.verifier.best) if self.verifier is not None else (None, None)
        self.checkpointing.save(self.meter.step, last, best, self.metrics)
