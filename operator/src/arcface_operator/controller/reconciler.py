"""Observe, decide, act: one job at a time, as often as something may have changed."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.controller.job_store import JobStore
from arcface_operator.controller.job_tracker import JobTracker
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.observer import Observer
from arcface_operator.controller.status_writer import StatusWriter
from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Create, EmitEvent, Plan
from arcface_operator.kubernetes.client import ApiError, JobRef, Unreachable
from arcface_operator.kubernetes.executor import ActionExecutor, NamespaceLeaves, Refused
from arcface_operator.kubernetes.priority_semaphore import Priority
from arcface_operator.settings import Settings

LOG = logging.getLogger(__name__)


@dataclass
class Reconciler:
    """Keeps jobs going."""

    jobs: JobStore
    observer: Observer
    writer: StatusWriter
    executor: ActionExecutor
    queue: WorkQueue
    settings: Settings
    metrics: OperatorMetrics
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    trackers: dict[JobRef, JobTracker] = field(default_factory=dict)

    async def handle(self, ref: JobRef) -> None:
        """One look at a job; whatever goes wrong, it is looked at again."""
        tracker = self.trackers.setdefault(ref, JobTracker(ref, self.now()))
        began = self.clock()
        try:
            seconds = await self._reconcile(tracker)
            tracker.failures = 0
        except (ApiError, Unreachable) as error:
            seconds = self._count_failure(tracker, str(error))
        except Exception:  # a job that cannot be handled must not keep the others from it
            LOG.exception("job %s: this should not have happened", ref)
            seconds = self._count_failure(tracker, "unexpected error")
        finally:
            self.metrics.reconcile_seconds.observe(self.clock() - began)
        if seconds is not None:
            self.queue.wake(ref, seconds)

    def _count_failure(self, tracker: JobTracker, why: str) -> float:
        """Time until the next look."""
        seconds = tracker.count_failure()
        LOG.warning("job %s: %s; again in %.1f s", tracker.ref, why, seconds)
        self.metrics.reconcile_errors.inc()
        return seconds

    async def _reconcile(self, tracker: JobTracker) -> float | None:
        """Observe, decide, write the status, act; seconds until the next look, None where something must be heard."""
        try:
            job = self.jobs.job(tracker.ref)
        except InvalidInput as error:
            LOG.error("job cannot be read, another release may have written it: %s", error)  # noqa: TRY400
            return None
        if job is None:
            self.trackers.pop(tracker.ref, None)
            self.observer.poller.forget(tracker.ref)
            return None
        plan = decide(await self.observer.observe(job, tracker), self.settings, self.now())
        tracker.refusal = None
        try:
            if not await self._carry_out(job, plan, tracker):
                return None
        except Refused as error:
            seconds = tracker.count_refusal(str(error), self.settings.check_seconds)
            await self.executor.emit(job, EmitEvent(type="Warning", reason="Refused", message=str(error)))
            return seconds
        except NamespaceLeaves:
            return self.settings.check_seconds
        tracker.refusals = 0
        return plan.look_again_seconds

    async def _carry_out(self, job: ArcFaceTrainingJob, plan: Plan, tracker: JobTracker) -> bool:
        """Write the status, then act; False where the job has changed meanwhile."""
        if any(isinstance(action, Create) for action in plan.actions):
            # What pods need may be there without the status, which decides whether the pods may be.
            written, _ = await asyncio.gather(
                self.writer.write(tracker, job, plan.status, Priority.HIGH), self.executor.prepare(job, plan)
            )
        else:
            priority = Priority.HIGH if plan.actions else Priority.LOW
            if written := await self.writer.write(tracker, job, plan.status, priority):
                await self.executor.prepare(job, plan)
        if written:
            await self.executor.act(job, plan)
        return written
