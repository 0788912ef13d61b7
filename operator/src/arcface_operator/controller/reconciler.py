"""Observe, decide, act: one job at a time, as often as something may have changed."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from arcface_api.contract.reports import TrainerReport
from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.controller.job_store import JobStore
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.progress_poller import ReportReader
from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.decision.context import Case
from arcface_operator.decision.decide import GROUPLESS_PHASES, decide, needs_report, needs_surroundings
from arcface_operator.decision.observation import EvaluatorView, Observation, PodView
from arcface_operator.decision.plan import Announce, Create, Plan
from arcface_operator.decision.removal import is_overdue
from arcface_operator.decision.urgency import blames_training, is_urgent
from arcface_operator.kubernetes.children import Children
from arcface_operator.kubernetes.client import CONFLICT, NOT_FOUND, REFUSED, Api, ApiError, Unreachable, job_path
from arcface_operator.kubernetes.executor import Actor, NamespaceLeaves, Refused
from arcface_operator.kubernetes.prerequisites import SurroundingsReader
from arcface_operator.kubernetes.reflector import Key
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.settings import Settings

LOG = logging.getLogger(__name__)
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0


@dataclass
class Memory:
    """What is worth remembering of a job, and harmless to forget."""

    since: datetime
    polled_at: float | None = None
    written_at: float | None = None
    failures: int = 0
    refusal: str | None = None
    refusals: int = 0
    """In a row."""
    podless_since: datetime | None = None


@dataclass
class Reconciler:
    """Keeps jobs going."""

    api: Api
    actor: Actor
    jobs: JobStore
    pods: Children[PodView]
    evaluators: Children[EvaluatorView]
    surroundings: SurroundingsReader
    reports: ReportReader
    queue: WorkQueue
    settings: Settings
    metrics: OperatorMetrics
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    memories: dict[Key, Memory] = field(default_factory=dict)

    async def handle(self, key: Key) -> None:
        """One look at a job; whatever goes wrong, it is looked at again."""
        memory = self.memories.setdefault(key, Memory(self.now()))
        began = self.clock()
        try:
            await self.reconcile(key, memory)
            memory.failures = 0
        except (ApiError, Unreachable) as error:
            self.retry(key, memory, str(error))
        except Exception:  # a job that cannot be handled must not keep the others from it
            LOG.exception("job %s/%s: this should not have happened", *key)
            self.retry(key, memory, "unexpected error")
        finally:
            self.metrics.reconcile_seconds.observe(self.clock() - began)

    def retry(self, key: Key, memory: Memory, why: str) -> None:
        """Look again, each time in a row later."""
        memory.failures += 1
        seconds = min(FIRST_RETRY_SECONDS * 2 ** (memory.failures - 1), LAST_RETRY_SECONDS)
        LOG.warning("job %s/%s: %s; again in %.1f s", *key, why, seconds)
        self.metrics.reconcile_errors.inc()
        self.queue.wake(key, seconds)

    async def reconcile(self, key: Key, memory: Memory) -> None:
        """Observe, decide, write the status, act."""
        try:
            job = self.jobs.job(key)
        except InvalidInput as error:
            LOG.error("job cannot be read, another release may have written it: %s", error)  # noqa: TRY400
            return
        if job is None:
            self.memories.pop(key, None)
            self.reports.forget(key)
            return
        plan = await self.decided(await self.observe(key, job, memory))
        is_careful, memory.refusal = memory.refusal is not None, None
        try:
            if not await self.carry_out(key, job, plan, memory, is_careful=is_careful):
                return
        except Refused as error:
            await self.refused(key, job, memory, str(error))
            return
        except NamespaceLeaves:
            self.queue.wake(key, self.settings.check_seconds)
            return
        memory.refusals = 0
        if plan.look_again_seconds is not None:
            self.queue.wake(key, plan.look_again_seconds)

    async def decided(self, seen: Observation) -> Plan:
        """The decision; before a training is blamed for a fault, the nodes of its pods are looked at."""
        plan = decide(seen, self.settings, self.now())
        if not blames_training(seen.job.status, plan.status):
            return plan
        nodes = {pod.node for pod in seen.pods if pod.node is not None}
        return decide(seen.with_lost_nodes(await self.surroundings.lost(nodes)), self.settings, self.now())

    async def carry_out(
        self, key: Key, job: ArcFaceTrainingJob, plan: Plan, memory: Memory, *, is_careful: bool
    ) -> bool:
        """Write the status, then act; False where the job has changed meanwhile."""
        if any(isinstance(action, Create) for action in plan.actions):
            # What pods need may be there without the status, which decides whether the pods may be.
            written, _ = await asyncio.gather(
                self.write(key, job, plan.status, memory, is_patient=False), self.actor.prepare(job, plan.actions)
            )
        elif written := await self.write(key, job, plan.status, memory, is_patient=not plan.actions):
            await self.actor.prepare(job, plan.actions)
        if written:
            await self.actor.act(job, plan.actions, is_careful=is_careful)
        return written

    async def refused(self, key: Key, job: ArcFaceTrainingJob, memory: Memory, why: str) -> None:
        """Tell the user what the API server will not have, and try again later."""
        memory.refusal = why
        seconds = min(
            self.settings.check_seconds * 2**memory.refusals, max(LAST_RETRY_SECONDS, self.settings.check_seconds)
        )
        memory.refusals += 1
        await self.actor.announce(job, Announce(type="Warning", reason="Refused", message=why))
        self.queue.wake(key, seconds)

    async def observe(self, key: Key, job: ArcFaceTrainingJob, memory: Memory) -> Observation:
        """Everything that a decision about this job may look at."""
        # A job of this name before this one may have left children that are still to go.
        evaluators = {
            evaluator.uid: evaluator for evaluator in self.evaluators.of(key) if evaluator.owner == job.metadata.uid
        }
        owners = {job.metadata.uid, *evaluators}
        phase, pods = job.status.phase, tuple(pod for pod in self.pods.of(key) if pod.owner in owners)
        is_empty = not any(pod.component == "worker" for pod in pods)
        seen = Observation(
            job=job,
            pods=pods,
            evaluator=next(iter(evaluators.values()), None),
            surroundings=await self.surroundings.read(job) if needs_surroundings(phase) and is_empty else None,
            report=self.report(job, key, pods, memory) if needs_report(phase) else None,
            podless_since=self.podless_since(evaluators, pods, memory),
            has_group=await self.has_group(job),
            watched_since=memory.since,
            refusal=memory.refusal,
        )
        case = Case(seen, job.status, self.settings, self.now())
        overdue = {pod.node for pod in seen.pods if pod.node is not None and is_overdue(case, pod)}
        return seen.with_lost_nodes(await self.surroundings.lost(overdue)) if overdue else seen

    def podless_since(
        self, evaluators: Mapping[str, EvaluatorView], pods: tuple[PodView, ...], memory: Memory
    ) -> datetime | None:
        """Since when the evaluator has no pod; its Job does not say."""
        if not evaluators or any(pod.component == "evaluator" for pod in pods):
            memory.podless_since = None
        elif memory.podless_since is None:
            memory.podless_since = self.now()
        return memory.podless_since

    async def has_group(self, job: ArcFaceTrainingJob) -> bool:
        """Whether the gang scheduler's group is there, where it should go."""
        group = build_pod_group(job, self.settings)
        return group is not None and job.status.phase in GROUPLESS_PHASES and await self.actor.exists(group)

    def report(
        self, job: ArcFaceTrainingJob, key: Key, pods: tuple[PodView, ...], memory: Memory
    ) -> TrainerReport | None:
        """Rank 0's last answer; it is asked again when that is due, and the job looked at once it has answered."""
        attempt, is_training = job.status.attempt, job.status.phase == "Training"
        period = self.settings.progress_seconds if is_training else self.settings.starting_poll_seconds
        first = next((pod for pod in pods if pod.index == 0 and pod.attempt == attempt), None)
        if first is None or first.address is None or first.ended is not None:
            return None
        is_recent = memory.polled_at is not None and self.clock() - memory.polled_at < period / 2
        if not is_recent:
            memory.polled_at = self.clock()
            self.reports.ask(key, first.address)
        return self.reports.take(key, first.address)

    async def write(
        self, key: Key, job: ArcFaceTrainingJob, status: ArcFaceTrainingJobStatus, memory: Memory, *, is_patient: bool
    ) -> bool:
        """Write the status if it has changed; False where the job has changed meanwhile and is looked at again.

        The whole status is replaced on condition that the job is still the one that was decided on: a decision on an
        outdated state comes to nothing.
        """
        body = self.jobs.body(key)
        if status == job.status or body is None:
            return body is not None
        if not is_urgent(job.status, status) and (seconds := self.too_early(memory)):
            self.queue.wake(key, seconds)
            return True
        content = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            path = f"{job_path(*key)}/status"
            answer = await self.api.replace(path, {**body, "status": content}, is_patient=is_patient)
        except ApiError as error:
            if error.status == CONFLICT:
                self.queue.wake(key, FIRST_RETRY_SECONDS)  # the watch brings the newer one, most likely before
                return False
            if error.status == NOT_FOUND:
                self.jobs.forget(body)
                return False
            if error.status in REFUSED:
                raise Refused(f"status: {error.message}") from None
            raise
        memory.written_at = self.clock()
        self.jobs.see(answer)
        return True

    def too_early(self, memory: Memory) -> float | None:
        """Time until figures may be written again."""
        if memory.written_at is None:
            return None
        left = memory.written_at + self.settings.figures_seconds - self.clock()
        return left if left > 0 else None
