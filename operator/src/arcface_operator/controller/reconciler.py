"""Observe, decide, write the status, act: one job at a time, as often as something may have changed.

A status is written at once where something has happened, and where only figures changed now and then.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.controller.jobs import FIRST_RETRY_SECONDS, JobStore, JobTracker, WorkQueue
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.observer import Observer
from arcface_operator.decision.answers.action_failure import UNREADABLE, ActionFailure
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Annotate, Create, EmitEvent, Plan, earliest
from arcface_operator.kubernetes import client, executor, outcomes
from arcface_operator.kubernetes.priority_semaphore import Priority
from arcface_operator.manifests.device_class import with_device_class
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.settings import Settings

LOG = logging.getLogger(__name__)
FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None, "evaluation_progress": None}


@dataclass
class StatusWriter:
    """Writes what was decided, and keeps the answer as the newest state of the job."""

    api: client.Api
    jobs: JobStore
    queue: WorkQueue
    figures_seconds: float
    """Shortest time between two writes of figures."""
    clock: Callable[[], float] = time.monotonic

    async def write(
        self, tracker: JobTracker, job: ArcFaceTrainingJob, status: ArcFaceTrainingJobStatus, priority: Priority
    ) -> bool:
        """Write the status if it has changed; False where the job has changed meanwhile and is looked at again.

        The whole status is replaced on condition that the job is still the one that was decided on, by uid and version
        (optimistic concurrency): a decision on an outdated state comes to nothing.

        Raises:
            Refused: where the API server will not have the status.
        """
        if status == job.status:
            return True
        if not _is_urgent(job.status, status) and (seconds := self._too_early(tracker)):
            self.queue.wake(tracker.ref, seconds)
            return True
        content = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return await self._replace(tracker, tracker.manifest, content, priority)

    async def tell_unreadable(self, tracker: JobTracker, why: str, now: datetime) -> None:
        """Say of a job that cannot be read why nobody looks after it, and leave all else as it is.

        Raises:
            Refused: where the API server will not have the status.
        """
        body = self.jobs.body(tracker.ref)
        if body is None:
            return
        status = with_condition(body.get("status", {}), "Ready", UNREADABLE, why, now)
        if status != body.get("status"):
            await self._replace(tracker, body, status, Priority.HIGH)

    async def _replace(self, tracker: JobTracker, body: Manifest, content: Manifest, priority: Priority) -> bool:
        """One request, and what its answer means."""
        try:
            answer = await self.api.replace(f"{tracker.ref.path}/status", {**body, "status": content}, priority)
        except client.ApiError as error:
            if error.status == client.CONFLICT:
                self.queue.wake(tracker.ref, FIRST_RETRY_SECONDS)  # the watch brings the newer one, most likely before
                return False
            if error.status == client.NOT_FOUND:
                self.jobs.delete(body)
                return False
            if error.status in client.REFUSED:
                raise outcomes.Refused(f"status: {error.message}") from None
            raise
        tracker.written_at = self.clock()
        self.jobs.upsert(answer)
        return True

    def _too_early(self, tracker: JobTracker) -> float | None:
        """Time until figures may be written again."""
        if tracker.written_at is None:
            return None
        left = tracker.written_at + self.figures_seconds - self.clock()
        return left if left > 0 else None


def with_condition(status: Manifest, kind: str, reason: str, message: str, now: datetime) -> Manifest:
    """A status as JSON has it, with a condition that does not hold; the same where it says so already."""
    others = [item for item in status.get("conditions", []) if item["type"] != kind]
    known = next((item for item in status.get("conditions", []) if item["type"] == kind), None)
    if known is not None and (known["status"], known["reason"], known["message"]) == ("False", reason, message):
        return status
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    since = known["lastTransitionTime"] if known is not None and known["status"] == "False" else stamp
    new = {"type": kind, "status": "False", "reason": reason, "message": message, "lastTransitionTime": since}
    return {**status, "conditions": [*others, new]}


def _state_of(body: Manifest) -> tuple[Any, ...]:
    """What a decision goes by: which job it is, its spec, by its generation, and its status.

    Labels and annotations are left to the next look: somebody who writes them all the time holds no job up.
    """
    metadata = body.get("metadata", {})
    return metadata.get("uid"), metadata.get("generation"), body.get("status")


def _is_urgent(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> bool:
    """Whether something other than figures and the wording of conditions has changed."""
    return _without_figures(old) != _without_figures(new)


def _without_figures(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status without what may wait."""
    conditions = [condition.model_copy(update={"message": ""}) for condition in status.conditions]
    return status.model_copy(update={**FIGURES, "conditions": conditions})


@dataclass
class Reconciler:
    """Keeps jobs going."""

    jobs: JobStore
    observer: Observer
    writer: StatusWriter
    executor: executor.ActionExecutor
    queue: WorkQueue
    settings: Settings
    metrics: OperatorMetrics
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    trackers: dict[client.JobRef, JobTracker] = field(default_factory=dict)

    async def handle(self, ref: client.JobRef) -> None:
        """One look at a job; whatever goes wrong, it is looked at again."""
        tracker = self.trackers.setdefault(ref, JobTracker(ref, self.now()))
        began = self.clock()
        try:
            seconds = await self._reconcile(tracker)
        except client.ApiError as error:
            seconds = self._count_failure(tracker, str(error), error.retry_after_seconds)
        except (client.Unreachable, outcomes.Refused) as error:
            seconds = self._count_failure(tracker, str(error))
        except Exception:  # a job that cannot be handled must not keep the others from it
            LOG.exception("job %s: this should not have happened", ref)
            seconds = self._count_failure(tracker, "unexpected error")
        finally:
            self.metrics.reconcile_seconds.observe(self.clock() - began)
        if seconds is not None:
            self.queue.wake(ref, seconds)

    def _count_failure(self, tracker: JobTracker, why: str, wish_seconds: float | None = None) -> float:
        """Time until the next look."""
        seconds = tracker.count_failure(wish_seconds)
        LOG.warning("job %s: %s; again in %.1f s", tracker.ref, why, seconds)
        self.metrics.reconcile_errors.inc()
        return seconds

    async def _reconcile(self, tracker: JobTracker) -> float | None:
        """Observe, decide, write the status, act; seconds until the next look, None where something must be heard."""
        try:
            job = self.jobs.job(tracker.ref)
        except InvalidInput as error:
            LOG.error("job cannot be read, another release may have written it: %s", error)  # noqa: TRY400
            await self.writer.tell_unreadable(tracker, str(error), self.now())
            return None
        if job is None:
            self.trackers.pop(tracker.ref, None)
            self.observer.forget(tracker.ref)
            return None
        tracker = self._tracker_of(job, tracker)
        body = self.jobs.body(tracker.ref)
        job, settings = with_device_class(job, self.settings)
        observed = await self.observer.observe(job, tracker)
        tracker.manifest = self.jobs.body(tracker.ref) or {}
        if _state_of(tracker.manifest) != _state_of(body or {}):
            self.queue.wake(tracker.ref, 0.0)
            return None
        plan = decide(observed, settings, self.now())
        try:
            seconds = await self._carry_out(job, plan, tracker)
            return earliest(seconds, self._count_unread(tracker, observed.unread))
        except outcomes.Refused as error:  # the status, which cannot tell of itself
            failure = ActionFailure(condition="Ready", message=str(error), is_lasting=True)
            await self._emit(job, failure)
            return tracker.count_vain_try([failure], self.settings.check_seconds)
        except outcomes.NamespaceLeaves:
            return self.settings.check_seconds

    def _count_unread(self, tracker: JobTracker, unread: Sequence[ActionFailure]) -> float | None:
        """Time until what could not be read is asked for again; None where all could."""
        if not unread:
            tracker.failures = 0
            return None
        wish = max((item.retry_after_seconds or 0.0 for item in unread), default=0.0)
        return self._count_failure(tracker, unread[0].message, wish)

    def _tracker_of(self, job: ArcFaceTrainingJob, tracker: JobTracker) -> JobTracker:
        """The job's tracker; that of an earlier job of its name is of no use to it."""
        if tracker.uid not in {None, job.metadata.uid}:
            tracker = self.trackers[tracker.ref] = JobTracker(tracker.ref, self.now())
        tracker.uid = job.metadata.uid
        return tracker

    async def _carry_out(self, job: ArcFaceTrainingJob, plan: Plan, tracker: JobTracker) -> float | None:
        """Write the status and act; seconds until the next look, None where the job has changed meanwhile.

        What failed is not tried again before its time, whatever else is done; the next look tells of it.
        """
        waits = self.clock() < tracker.retry_at
        held = tuple(item for item in tracker.failed if waits)
        failed = await self._write_and_act(job, plan.without({item.family for item in held}), tracker)
        if failed is None:
            return None
        had_failed, tracker.failed = bool(tracker.failed), (*held, *failed)
        if failed:
            seconds = tracker.count_vain_try(failed, self.settings.check_seconds)
            tracker.retry_at = max(tracker.retry_at, self.clock() + seconds)  # what others were asked to wait counts
            await asyncio.gather(*(self._emit(job, item) for item in failed[:1] if item.is_lasting))
            return 0.0
        if not tracker.failed:
            tracker.vain_tries = 0
            return 0.0 if had_failed else plan.look_again_seconds
        return earliest(plan.look_again_seconds, max(0.0, tracker.retry_at - self.clock()))

    async def _write_and_act(
        self, job: ArcFaceTrainingJob, plan: Plan, tracker: JobTracker
    ) -> list[ActionFailure] | None:
        """Write the status, then act; what failed of it, None where the job has changed meanwhile."""
        if any(isinstance(action, Create) for action in plan.actions):
            # What pods need may be there without the status, which decides whether the pods may be.
            written, failed = await asyncio.gather(
                self.writer.write(tracker, job, plan.status, Priority.HIGH), self.executor.prepare(job, plan)
            )
        else:
            priority = Priority.HIGH if plan.actions else Priority.LOW
            written = await self.writer.write(tracker, job, plan.status, priority)
            failed = await self.executor.prepare(job, plan) if written else []
        if not written:
            return None
        if failed:
            # Nothing is built on what could not be made; what is to go does not wait for it.
            kept = tuple(action for action in plan.actions if not isinstance(action, Create | Annotate))
            plan = replace(plan, actions=kept)
        return [*failed, *await self.executor.act(job, plan)]

    async def _emit(self, job: ArcFaceTrainingJob, failure: ActionFailure) -> None:
        """An event on what was refused."""
        await self.executor.emit(job, EmitEvent(type="Warning", reason=failure.reason, message=failure.message))
