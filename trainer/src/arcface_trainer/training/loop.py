"""The loop of a rank: while the device computes a step, the host reads what came of the one before.

The host never waits for the step that it has just launched, so that the device always has the next one before it. All
ranks keep to one protocol, in which step n is the one that leads to n updates:

- Step n carries the rank's votes: to stop, to save, the bit of its save that is under way. The results of step n, these
  votes among them, are read after step n + 1 has been launched, and acted upon after step n + 1. The sums of the votes
  are the same on all ranks, so all of them stop, save and publish after the same step.
- What looks at the state (a save, a verification, the end) or exchanges anything outside of the step's graph is done
  with no step in flight: the last one is waited for, and its results are read, counted and judged first. Its votes
  still wait for the step after it: the lag is one step, always. So the state after n updates is saved under the name n.
- What is due by the number of a step (`everySteps`, the end of an epoch or of the training) does not lag.
- A step whose numbers are not finite leaves the state as it was, inside of its graph and on all ranks alike (as the
  loss scale changes there), so the step that is launched before anybody has looked begins from a sound state. The
  verdict on it (`training.verdict`) comes one step later, on all ranks; where it is to roll back, they do so together.
- No rank leaves with a step in flight: its peers' sums would end with it.

Images and learning rate are functions of the step's number, and after a roll-back of the batches that it left out and
the factor that it put on the rate, which checkpoints carry. So the lag changes no weight, and a run goes on from a
checkpoint exactly as it would have without stopping.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

from arcface_api.contract import reports
from arcface_api.errors import Diverged, Stopped
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.data.loader import Batch, BatchLoader
from arcface_trainer.heartbeat import Enter, Phase, unwatched
from arcface_trainer.metrics import Meter, StepRecord, TrainMetrics
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.frozen_step import FrozenStep
from arcface_trainer.step.graph_cache import GraphCache
from arcface_trainer.step.train_step import DeviceStep, TrainStep
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes
from arcface_trainer.training.history import HistoryWriter
from arcface_trainer.training.loss_check import REMEDY, LossCheck
from arcface_trainer.training.verdict import WINDOW, RollBackDue, Verdict
from arcface_trainer.training.verification import Verifier

LOG = logging.getLogger(__name__)
LOG_EVERY = WINDOW
"""Steps between log lines."""


@dataclass(frozen=True, slots=True)
class _LaunchedStep:
    """A step that the device has been given."""

    step: int
    """Updates before it."""
    images: int
    """Of this rank."""
    rate: float
    result: "Future[StepResult]"


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
    metrics: TrainMetrics
    frozen_step: FrozenStep | None = None
    """The step of the first epochs where the backbone keeps its weights in them."""
    graph_cache: GraphCache = field(default_factory=GraphCache)
    """Keeps nothing unless it is given a folder."""
    history: HistoryWriter = field(default_factory=HistoryWriter)
    """Silent unless it is given a file."""
    enter: Enter = unwatched
    """Told of each thing that the rank begins, for whoever watches it."""
    meter: Meter = field(init=False)
    """Of the steps whose results have been read."""
    loss_check: LossCheck = field(init=False)
    _has_stepped: bool = False
    """Whether a step has ended in this run."""
    _launched: DeviceStep | None = None
    """What the device was last given."""
    _in_flight: _LaunchedStep | None = None
    _votes: StepVotes = NO_VOTES
    """Of all ranks, carried by the last step whose results have been read."""
    _rate_and_norm: tuple[float, float] = (0.0, 0.0)
    """Learning rate and length of the embeddings of that step."""
    _told_step: int = 0
    """The step that the history has come to."""
    _ended_at: float = 0.0
    """Seconds of `time.monotonic` when that step had ended, or what was done after it."""

    def __post_init__(self) -> None:
        plan, resumed = self.plan, self.checkpointing.resumed
        self._told_step = step = 0 if resumed is None else resumed.step
        self.meter = Meter(plan.schedule.steps_per_epoch, plan.total_steps, plan.total_batch_size, step)
        self.loss_check = LossCheck(plan)
        if self.checkpointing.rolled_back is not None:
            self.loss_check.begin_again()

    def run(self) -> None:
        """Train from `meter.step` to the end.

        Raises:
            Stopped: after saving, when any rank was asked to stop.
            Diverged: when the numbers went wrong, and going back did not help or was not possible.
        """
        with self.loader, self.history:
            try:
                self._train_and_go_back_once()
            finally:
                if self._in_flight is not None:
                    self._in_flight.result.exception()  # waits for it

    def report(self, failure: reports.ReportedFailure | None = None) -> reports.TrainerReport:
        """Rank 0 tells where the training stands, every rank what it skipped and why it failed."""
        report = reports.TrainerReport(skipped_images=len(self.loader.skipped), failure=failure)
        if self.rank != 0:
            return report
        progress, checkpointing = self.meter.progress(datetime.now(UTC)), self.checkpointing
        if self.verifier is not None:
            verified = {"verification": checkpointing.verifications.last, "best": checkpointing.best()}
            progress = progress.model_copy(update=verified)
        warnings = [*self.loss_check.warnings, *checkpointing.current_warnings(), *self.history.warnings]
        if checkpointing.rolled_back is not None:
            warnings.append(f"the training {checkpointing.rolled_back.in_words}")
        told = {"progress": progress, "checkpoint": checkpointing.newest, "warnings": warnings}
        return report.model_copy(update=told)

    def _train_and_go_back_once(self) -> None:
        try:
            self._train()
        except RollBackDue as due:
            self._roll_back(due.verdict)
            self._train()  # a second verdict of this kind is that the run has diverged

    def _roll_back(self, verdict: Verdict) -> None:
        """Take up the last state from before the numbers went wrong; all ranks do so after the same step."""
        if self._in_flight is not None:
            self._in_flight.result.result()
        self._in_flight, self._votes = None, NO_VOTES
        self._begin(Phase.CHECKPOINT, verdict.first_step)
        step = self.checkpointing.roll_back(verdict.first_step, verdict.cause, self.metrics)
        if step is None:
            what = f"{verdict.cause}, and there is no checkpoint from before that any more: {REMEDY}"
            raise Diverged(what, verdict.rank)
        self.meter.go_back(step)
        self._told_step = step
        self.history.begin(step)
        self.loss_check.begin_again()

    def _train(self) -> None:
        step = self.meter.step
        if (verifier := self._due_verifier(step)) is not None:
            self._verify(verifier, step)  # a run that was stopped at the end of an epoch did not wait for it
        self._ended_at = self.checkpointing.begun_at = time.monotonic()
        while step < self.plan.total_steps:
            before, self._in_flight = self._in_flight, self._launch(step)
            if before is not None:
                self._read(before)
            step += 1
            self._act_after(step)

    def _begin(self, phase: Phase, step: int) -> None:
        """Tell that something new begins after `step` updates; a start may take as long as it takes."""
        self.enter(phase if self._has_stepped else Phase.START, step)

    def _launch(self, step: int) -> _LaunchedStep:
        """Give the device the step that follows `step` updates, with what this rank wants after it."""
        checkpointing = self.checkpointing
        rate, way_back = self.plan.schedule.rate(step), checkpointing.rolled_back
        if way_back is not None:
            rate *= way_back.rate_factor
        self._begin(Phase.DATA, step)
        batch, wait = self._next_batch(step + (0 if way_back is None else way_back.skipped_batches))
        graph = self._step_after(step)
        self._begin(Phase.STEP if graph is self._launched else Phase.START, step)  # it is compiled when first launched
        self._launched = graph
        self.metrics.data_wait.inc(wait)
        save, keep = checkpointing.is_overdue(), checkpointing.is_copy_due()
        votes = StepVotes(self.is_stop_wanted(), save, checkpointing.saver.bit, keep)
        with self.graph_cache.first(type(graph).__name__):
            result = graph.launch(batch.images, batch.labels, rate, votes, wait, step=step)
        return _LaunchedStep(step, batch.image_count, rate, result)

    def _step_after(self, step: int) -> DeviceStep:
        """What the device computes after `step` updates."""
        if self.frozen_step is not None and self.plan.epoch(step) < self.plan.model.freeze_epochs:
            return self.frozen_step
        return self.train_step

    def _next_batch(self, number: int) -> tuple[Batch, float]:
        """A batch of the order, and the seconds that the device had nothing to compute for want of it."""
        asked_at = time.monotonic()
        batch = self.loader.take(number)
        came_at, in_flight = time.monotonic(), self._in_flight
        if in_flight is None:
            return batch, came_at - asked_at
        if not in_flight.result.done():
            return batch, 0.0
        return batch, max(0.0, came_at - max(asked_at, in_flight.result.result().ended_at))

    def _act_after(self, step: int) -> None:
        """Do what is due after `step` updates, the last of which is in flight."""
        votes = self._votes
        verifier = None if votes.stop else self._due_verifier(step)
        if verifier is not None or self.checkpointing.acts_after(step, votes):
            self._settle()
        if verifier is not None:
            self._verify(verifier, step)
        self._begin(Phase.CHECKPOINT, step)
        self.checkpointing.after_step(step, votes, self.metrics)
        if self.checkpointing.has_begun_at(step):
            self._tell()  # where a later stretch goes on from here, a line that reaches over it counts no more
        if self._in_flight is None:
            self._ended_at = time.monotonic()
        if votes.stop:
            raise Stopped(f"stopped on request after step {step}, the state is saved: run again to go on")

    def _settle(self) -> None:
        """Wait for the step in flight and read its results."""
        last, self._in_flight = self._in_flight, None
        if last is not None:
            self._read(last)

    def _read(self, launched: _LaunchedStep) -> None:
        """Take the results of a step into the figures and judge them."""
        result = launched.result.result()
        record = StepRecord(result.loss, result.ended_at - self._ended_at, result.waits, result.loss_scale)
        self._ended_at, self._votes, self._has_stepped = result.ended_at, result.votes, True
        self._count(launched, result, record)
        self.loss_check.check(result, launched.step)

    def _count(self, launched: _LaunchedStep, result: StepResult, record: StepRecord) -> None:
        metrics, meter = self.metrics, self.meter
        meter.add(record)
        metrics.loss.set(result.loss)
        metrics.step_seconds.observe(record.seconds)
        metrics.images.inc(launched.images)
        metrics.images_per_second.set((meter.images_per_second or 0) / self.plan.world_size)
        metrics.step.set(meter.step)
        metrics.epoch.set(self.plan.epoch(meter.step))
        metrics.learning_rate.set(launched.rate)
        metrics.embedding_norm.set(result.embedding_norm)
        metrics.loss_scale.set(1 if result.loss_scale is None else result.loss_scale)
        metrics.skipped_steps.inc(not result.is_applied)
        self._rate_and_norm = launched.rate, result.embedding_norm
        if meter.step % LOG_EVERY == 0 or meter.step == self.plan.total_steps:
            LOG.info("%s learning_rate=%.6g", meter.log_line(datetime.now(UTC)), launched.rate)
            self._tell()

    def _tell(self) -> None:
        """Add the figures of the steps that the history does not have yet, if there are any."""
        if self.meter.step > self._told_step:
            self.history.add_figures(self.meter.since(self._told_step), *self._rate_and_norm)
            self._told_step = self.meter.step

    def _due_verifier(self, step: int) -> Verifier | None:
        """The verifier where it is to judge the network after `step` updates."""
        verifier = self.verifier
        return verifier if verifier is not None and verifier.is_due(step) else None

    def _verify(self, verifier: Verifier, step: int) -> None:
        self._begin(Phase.VERIFICATION, step)
        started = time.monotonic()
        verification = verifier.verify(step, self.loss_check)
        self.meter.pair_seconds = verifier.pair_seconds
        seconds = time.monotonic() - started
        self.metrics.set_verification(verification, seconds)
        self.history.add_verification(verification)
        accuracies = " ".join(f"{result.dataset}={result.accuracy:.5f}" for result in verification.results)
        pairs = sum(result.pairs for result in verification.results)
        is_best = self.checkpointing.verifications.is_best(step)
        LOG.info("verification %s pairs=%d seconds=%.2f is_best=%s", accuracies, pairs, seconds, is_best)
