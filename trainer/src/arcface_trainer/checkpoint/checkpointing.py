"""When the state of a training is saved, and what becomes of it.

A save that is due while another one is under way waits for it and then takes the state of that moment: what several
missed, one makes up for. The state of a new best network cannot be had later, so there the training waits instead.
Where the training stops or ends it waits, too, and a failure is an error; any other save that fails is told, counted
and tried again after `RETRY_SECONDS`.

In between, copies of the state go to the memory of the pods (`pod_memory`), where a restart of their ranks finds them.
They cost the training a known share of its time, whatever a copy takes, and a failure ends them and nothing else.

Votes come one step late (see `training.loop`). Those of a step that was launched before a save began wish for that
very save, or tell of the end of the one before: nothing but a stop is taken from them.
"""

import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from arcface_api.contract import pod_environment, run_config
from arcface_api.errors import PASSING_WHERE_WRITTEN, ArcFaceError, explained
from arcface_api.resource.status import BestCheckpoint, CheckpointStatus
from arcface_faces import checkpoint
from arcface_trainer.checkpoint.fine_tuning import FineTuning
from arcface_trainer.checkpoint.pod_memory import PodMemory
from arcface_trainer.checkpoint.resume import refuse_other_runs, resume
from arcface_trainer.checkpoint.saving import Saver, SaveResult
from arcface_trainer.checkpoint.state import TrainingState, Verifications
from arcface_trainer.checkpoint.writer import DAMAGED, CheckpointWriter, status_of
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.votes import StepVotes

LOG = logging.getLogger(__name__)
RETRY_SECONDS = 60.0
"""After a save that failed: a full disk is not emptied faster, and each try copies the state."""
SLOW_SECONDS = 600.0
"""A save that is not over by then is told of: a disk that hangs refuses nothing."""
COPY_SECONDS = 10.0
"""Between the end of a copy in memory and the next one, at least."""
COPY_PATIENCE = 50.0
"""Between them, in units of what the last copy held the training up: it costs 2 % of the time at most."""
RATE_FACTOR = 0.5
"""On the learning rate after a roll-back."""


@dataclass(slots=True)
class Checkpointing:
    """The checkpoints of this run."""

    settings: run_config.RunCheckpoint
    state: TrainingState
    saver: Saver
    verifications: Verifications
    resumed: checkpoint.CheckpointManifest | None = None
    """The checkpoint that the run went on from."""
    newest: CheckpointStatus | None = None
    """Newest checkpoint of this run, as rank 0 reports it; other ranks know what they went on from."""
    begun_at: float = field(default_factory=time.monotonic)
    """Seconds of `time.monotonic` when the last save began, or the training."""
    warnings: list[str] = field(default_factory=list)
    """Why the last save failed, until one goes well."""
    is_waiting: bool = False
    """Whether a save has become due while another one was under way."""
    rolled_back: checkpoint.RollBack | None = None
    """When this training went back, in this run or in one before it; it does so once."""
    memory: PodMemory | None = None
    """Where copies go; None where they go nowhere."""
    fine_tuning: FineTuning | None = None
    """What the training began with; None where its weights were fresh."""
    _copy_at: float = field(default_factory=lambda: time.monotonic() + COPY_SECONDS)
    """When the next one is due."""
    _copy_patience: float = COPY_SECONDS
    _retry_at: float | None = None
    _begun_step: int | None = None
    """The step that the last save began after."""
    _begun_time: datetime | None = None
    """When that was, for people."""
    _told_step: int | None = None
    """The step whose slow save the log tells of."""

    @classmethod
    def start(
        cls,
        settings: run_config.RunCheckpoint,
        state: TrainingState,
        plan: TrainingPlan,
        world: World,
        identity: pod_environment.RankIdentity,
        *,
        fine_tuning: FineTuning | None = None,
        memory: PodMemory | None = None,
    ) -> Self:
        """Make the folder ready and load the newest sound state into the training's; all ranks call together.

        Where there is none, the state is begun with what is to be fine-tuned, if anything is.

        Raises:
            InvalidInput: where the folder cannot be written to, or what it holds is damaged or of another run.
        """
        directory = Path(settings.directory)
        writer = CheckpointWriter(settings, plan, world, identity.attempt or 0, identity.job_uid, identity.launch)
        if world.is_first:
            refuse_other_runs(directory, plan)
            writer.prepare()  # before the newest one is looked for: nobody publishes a newer one any more
        resumed = resume(state, directory, plan, world, memory=memory)
        source = _begin(state, fine_tuning) if resumed is None else resumed.source
        writer = replace(writer, plan=replace(plan, source=source))
        if memory is not None:
            memory.keep_only(None if resumed is None else resumed.step)
            memory = replace(memory, plan=writer.plan)
        if resumed is None:
            return cls(settings, state, Saver(writer), Verifications(), memory=memory, fine_tuning=fine_tuning)
        if world.is_first:
            remedy = "mend the rights of the folder"
            with explained(directory, "damaged checkpoints cannot be renamed", remedy, PASSING_WHERE_WRITTEN):
                writer.set_aside(resumed.step + 1, DAMAGED)  # else they would have been resumed from
        found, newest = Verifications(resumed.verification, resumed.best), _published_until(resumed.step, settings)
        saver, way_back = Saver(writer), resumed.roll_back
        return cls(
            settings, state, saver, found, resumed, newest, rolled_back=way_back, memory=memory, fine_tuning=fine_tuning
        )

    def is_overdue(self) -> bool:
        """Whether this rank votes to save since it is time to; only the clock of rank 0 counts."""
        now, minutes = time.monotonic(), self.settings.every_minutes
        is_old = minutes is not None and now - self.begun_at >= 60 * minutes
        is_retry = self._retry_at is not None and now >= self._retry_at
        return (is_old or is_retry) and self.saver.writer.world.is_first

    def is_copy_due(self) -> bool:
        """Whether this rank votes for a copy in memory; only the clock of rank 0 counts."""
        is_due = self.memory is not None and time.monotonic() >= self._copy_at
        return is_due and self.saver.writer.world.is_first and not self.saver.is_busy

    def pending_seconds(self) -> float:
        """How long this rank's part of the save under way has been written; 0 where none is, or it is done."""
        return time.monotonic() - self.begun_at if self.saver.is_at_work else 0.0

    def current_warnings(self) -> list[str]:
        """Why the last save failed, and that the one under way takes too long, whatever the training waits for."""
        is_slow = self.saver.is_busy and not self.saver.is_copying and time.monotonic() - self.begun_at >= SLOW_SECONDS
        if not is_slow or self._begun_time is None:
            return self.warnings
        return [*self.warnings, self._slow_save(self._begun_time)]

    def is_due(self, step: int) -> bool:
        """Whether the state after `step` updates is saved whatever the ranks vote."""
        return step % self.settings.every_steps == 0

    def has_begun_at(self, step: int) -> bool:
        """Whether the state after `step` updates was the last one that was copied."""
        return self._begun_step == step

    def acts_after(self, step: int, votes: StepVotes) -> bool:
        """Whether `after_step` would copy the state or exchange anything, so that no step may be in flight."""
        votes = self._current(step, votes)
        is_stage_over = self.saver.is_stage_over(votes.saving_bits)
        can_begin = (self._is_asked(step, votes) or votes.keep) and not self.saver.is_busy
        return self._is_end(step, votes) or is_stage_over or can_begin or self.verifications.is_best(step)

    def after_step(self, step: int, votes: StepVotes, metrics: TrainMetrics) -> None:
        """Go on with the save that is under way and begin one where that is due; all ranks call together.

        Args:
            step: updates made.
            votes: of all ranks, carried by the step before the last.
            metrics: told how saves end.

        Raises:
            ArcFaceError: where the state of a stop or of the end cannot be saved.
        """
        began, votes = time.monotonic(), self._current(step, votes)
        self._take(self.saver.advance(votes.saving_bits), metrics)
        if self._is_end(step, votes):
            self._save_at_once(step, metrics)
        elif self.verifications.is_best(step):
            self._take(self.saver.finish(), metrics)
            self._begin(step)
        elif self._is_asked(step, votes):
            self._begin_or_wait(step)
        elif votes.keep and not self.saver.is_busy:
            self._copy(step)
        metrics.checkpoint_wait.inc(time.monotonic() - began)
        if self._told_step != self._begun_step and self._begun_time and self.pending_seconds() >= SLOW_SECONDS:
            self._told_step = self._begun_step
            LOG.warning("checkpoint slow step=%d reason=%s", self._begun_step, self._slow_save(self._begun_time))

    def roll_back(self, first_step: int, cause: str, metrics: TrainMetrics) -> int | None:
        """Load the newest checkpoint from before the numbers went wrong; no step may be in flight.

        Where none has been due by then, the training begins anew. The copies in memory are no way back: they are made
        every few seconds, and the weights may have been on their way to no numbers since before.

        Args:
            first_step: updates before the first step that went wrong; its batch and those before it are left out.
            cause: why, in words.
            metrics: told how a save under way ends, and where the way back cannot be noted.

        Returns:
            Updates of the checkpoint, the same on all ranks, which call together; 0 of the beginning; None where there
            is no checkpoint any more.

        Raises:
            ArcFaceError, InvalidInput: as resuming and beginning do.
        """
        self._take(self.saver.finish(), metrics)
        if self.memory is not None:
            self.memory.keep_only(None)
        writer = self.saver.writer
        found = resume(self.state, writer.directory, writer.plan, writer.world, first_step)
        if found is None and first_step >= self.settings.every_steps:
            return None
        step = 0 if found is None else found.step
        self.rolled_back = _way_back(first_step, step, cause)
        self.is_waiting, self._retry_at, self._begun_step = False, None, None
        if found is None:
            self._begin_anew()
            self.verifications.go_back(None, None)
        else:
            found = found.model_copy(update={"roll_back": self.rolled_back})
            self.verifications.go_back(found.verification, found.best)
        if writer.world.is_first:
            self._note_way_back(found, metrics)
        LOG.warning("the training %s", self.rolled_back.in_words)
        return step

    def best(self) -> BestCheckpoint | None:
        """The checkpoint that is kept for its accuracy, as rank 0 knows it."""
        best = None if self.newest is None else self.verifications.best_until(self.newest.step)
        if best is None:
            return None
        path = self.settings.path_of(Path(self.settings.directory) / checkpoint.folder_name(best.step))
        return BestCheckpoint(path=path, step=best.step, accuracy=best.mean_accuracy)

    def _begin_anew(self) -> None:
        """Take up what the training began with, and save it soon, for there is no manifest to note the way back in."""
        writer = self.saver.writer
        self.state.begin_anew(writer.plan, writer.world)
        source = _begin(self.state, self.fine_tuning)
        self.saver.writer = replace(writer, plan=replace(writer.plan, source=source))
        if self.memory is not None:
            self.memory = replace(self.memory, plan=self.saver.writer.plan)
        self._retry_at = time.monotonic()

    def _note_way_back(self, manifest: checkpoint.CheckpointManifest | None, metrics: TrainMetrics) -> None:
        """Have whoever resumes know it; a volume that refuses is told of it by the next save, which is soon."""
        writer, step = self.saver.writer, 0 if manifest is None else manifest.step
        try:
            writer.go_back(manifest)
        except ArcFaceError as error:
            self._take_failure(SaveResult(step, error, is_own_failure=True), error, metrics)
        folder = writer.directory / checkpoint.folder_name(step)
        self.newest = None if manifest is None else status_of(folder, manifest, self.settings)

    def _current(self, step: int, votes: StepVotes) -> StepVotes:
        """What of the votes was cast after the last save began; no bit is none of a save that has just begun."""
        return StepVotes(votes.stop) if self._begun_step == step - 1 else votes

    def _is_end(self, step: int, votes: StepVotes) -> bool:
        """Whether the training stops or ends after this step."""
        return votes.stop or step == self.saver.writer.plan.total_steps

    def _is_asked(self, step: int, votes: StepVotes) -> bool:
        """Whether a save is due, if need be as soon as another one has ended."""
        return votes.save or self.is_waiting or self.is_due(step)

    def _begin_or_wait(self, step: int) -> None:
        self.is_waiting = self.saver.is_busy
        if not self.is_waiting:
            self._begin(step)

    def _begin(self, step: int) -> None:
        """Copy the state and have it written."""
        self.begun_at, self._begun_time, self._begun_step = time.monotonic(), datetime.now(UTC), step
        self.saver.begin(self.saver.writer.snapshot(self.state, step, self.verifications, self.rolled_back))
        self.is_waiting, self._retry_at = False, None

    def _copy(self, step: int) -> None:
        """Copy the state and have it kept in memory."""
        assert self.memory is not None  # noqa: S101 - all ranks have one, or none votes for it
        began, self._begun_step = time.monotonic(), step
        writer, memory = self.saver.writer, self.memory
        found = writer.snapshot(self.state, step, self.verifications, self.rolled_back, memory.holder)
        self.saver.begin(found, memory)
        self._copy_patience = max(COPY_SECONDS, COPY_PATIENCE * (time.monotonic() - began))

    def _slow_save(self, begun: datetime) -> str:
        """What is said of it: the same at each look, so that it is told once."""
        return (
            f"{self.saver.writer.directory}: the checkpoint of step {self._begun_step} is being written since "
            f"{begun:%Y-%m-%d %H:%M:%S} UTC: see arcface_train_checkpoint_pending_seconds of all ranks"
        )

    def _save_at_once(self, step: int, metrics: TrainMetrics) -> None:
        """Save and wait until the checkpoint is there: a rank that ended earlier could take rank 0 down with it."""
        self._take(self.saver.finish(), metrics)
        self._begin(step)
        result = self.saver.finish()
        self._take(result, metrics)
        if result is not None and result.failure is not None:
            raise result.failure
        if self.saver.writer.world.is_first:
            self.saver.writer.leave()

    def _take(self, result: SaveResult | None, metrics: TrainMetrics) -> None:
        """Tell of a save that has ended."""
        if result is None:
            return
        if result.is_copy:
            self._take_copy(result)
            return
        if result.failure is not None:
            self._take_failure(result, result.failure, metrics)
            return
        self.warnings = []
        if result.status is not None:
            resumed_from = None if self.resumed is None else self.resumed.step
            self.newest = result.status.model_copy(update={"resumed_from_step": resumed_from})
        seconds, folder = time.monotonic() - self.begun_at, checkpoint.folder_name(result.step)
        metrics.checkpoint_seconds.set(seconds)
        metrics.checkpoint_step.set(result.step)
        LOG.info("checkpoint step=%d seconds=%.2f folder=%s", result.step, seconds, folder)

    def _take_copy(self, result: SaveResult) -> None:
        """Have the next one made later, or none where one failed: what there is makes room for the training."""
        self._copy_at = time.monotonic() + self._copy_patience
        if result.failure is None or self.memory is None:
            return
        LOG.warning("no more states are kept in memory step=%d reason=%s", result.step, result.failure)
        self.memory.keep_only(None)
        self.memory = None

    def _take_failure(self, result: SaveResult, failure: ArcFaceError, metrics: TrainMetrics) -> None:
        """Try again later, also where another save waited: it would meet the same disk at once."""
        self.is_waiting, self._retry_at = False, time.monotonic() + RETRY_SECONDS
        self.warnings = [str(failure)]
        self.verifications.forget(result.step)
        if result.is_own_failure:
            metrics.checkpoint_failures.inc()
        if result.is_own_failure or self.saver.writer.world.is_first:
            LOG.warning("checkpoint failed step=%d reason=%s", result.step, failure)


def _published_until(step: int, settings: run_config.RunCheckpoint) -> CheckpointStatus | None:
    """What is told of the newest checkpoint where the training goes on after `step` updates; None without one."""
    for folder, manifest in checkpoint.complete_checkpoints(Path(settings.directory)):
        if manifest.step <= step:
            return status_of(folder, manifest, settings).model_copy(update={"resumed_from_step": step})
    return None


def _way_back(first_step: int, to_step: int, cause: str) -> checkpoint.RollBack:
    """From the first step that went wrong to an earlier one, past the batches that led there."""
    skipped = first_step + 1 - to_step
    return checkpoint.RollBack(
        cause=cause, from_step=first_step, to_step=to_step, skipped_batches=skipped, rate_factor=RATE_FACTOR
    )


def _begin(state: TrainingState, fine_tuning: FineTuning | None) -> checkpoint.SourceCheckpoint | None:
    """Have a new run begin with what it is to fine-tune, which is told; None where its weights stay fresh."""
    return None if fine_tuning is None else fine_tuning.begin(state)
