"""Gathering everything that one decision about a job may look at, lost nodes included; nothing is decided here.

The first pod is asked for its report beside everything else, since a pod may answer slowly, or never.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import httpx

from arcface_api.contract import pod_environment, reports
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.controller.jobs import JobTracker
from arcface_operator.decision import decide as needs
from arcface_operator.decision.ending import group_names
from arcface_operator.decision.observation import ObjectView, Observation, PodView
from arcface_operator.decision.stages import EVALUATION, stage_of
from arcface_operator.kubernetes import client, informer
from arcface_operator.kubernetes.prerequisites import PrerequisitesReader
from arcface_operator.settings import Settings

TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
IN_FLIGHT = 64


Report = reports.TrainerReport | reports.EvaluatorReport


class ProgressPoller:
    """Reads /progress of pods and keeps each answer until it is taken."""

    def __init__(self, answered: Callable[[client.JobRef], None]) -> None:
        self.answered = answered
        # Pods are reached directly, whatever proxy leads out of the cluster.
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self.in_flight = asyncio.Semaphore(IN_FLIGHT)
        self.polls: dict[client.JobRef, asyncio.Task[None]] = {}
        self.answers: dict[client.JobRef, tuple[str, Report]] = {}

    def poll(self, ref: client.JobRef, address: str, kind: type[Report]) -> None:
        """Have a pod asked for a report of this kind unless it is being asked already."""
        if ref not in self.polls:
            task = self.polls[ref] = asyncio.create_task(self._fetch(ref, address, kind))
            task.add_done_callback(lambda _: self.polls.pop(ref, None))

    def take(self, ref: client.JobRef, address: str) -> Report | None:
        """The answer of the pod at this address, once."""
        answer = self.answers.pop(ref, None)
        return answer[1] if answer is not None and answer[0] == address else None

    def forget(self, ref: client.JobRef) -> None:
        """The job is gone."""
        self.answers.pop(ref, None)

    async def _fetch(self, ref: client.JobRef, address: str, kind: type[Report]) -> None:
        """Ask a pod; only an answer is told of."""
        async with self.in_flight:
            report = await self._read(address, kind)
        if report is not None:
            self.answers[ref] = (address, report)
            self.answered(ref)

    async def _read(self, address: str, kind: type[Report]) -> Report | None:
        """The report, or None while the pod serves none in time."""
        host = f"[{address}]" if ":" in address else address
        content = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self.client.stream("GET", f"http://{host}:{pod_environment.METRICS_PORT}/progress") as response,
            ):
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > SIZE_LIMIT:
                        return None
            return kind.parse(content) if response.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self.polls.values()):
            task.cancel()
        await self.client.aclose()


@dataclass
class Observer:
    """Looks at the caches and, where a phase needs more than they hold, at the API server and the first pod."""

    api: client.Api
    pods: informer.Informer[client.JobRef, PodView]
    prerequisites: PrerequisitesReader
    poller: ProgressPoller
    settings: Settings
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    objects: Callable[[client.JobRef], tuple[ObjectView, ...] | None] = lambda _: None
    """Services and ConfigMaps of a job, as far as they are watched."""

    async def observe(self, job: ArcFaceTrainingJob, tracker: JobTracker) -> Observation:
        """One job and everything about it; while all is well, the API server is asked for nothing."""
        phase, stage, children = job.status.phase, stage_of(job.status), self.pods.of(tracker.ref)
        # A job of this name before this one may have left children that are still to go.
        pods = tuple(pod for pod in children if pod.owner == job.metadata.uid)
        is_empty = not any(pod.component == stage.component for pod in pods)
        waits = phase in needs.WAITING_PHASES and is_empty
        observed = Observation(
            job=job,
            pods=pods,
            predecessor=_predecessor(job, children),
            prerequisites=await self.prerequisites.read(job) if waits else None,
            report=self._report(job, pods, tracker) if phase in needs.GANG_PHASES else None,
            groups=await self._groups(job),
            watched_since=tracker.since,
            refusal=tracker.refusal,
            objects=self.objects(tracker.ref),
        )
        nodes = needs.nodes_in_question(observed, self.settings, self.now())
        return replace(observed, lost_nodes=self.prerequisites.lost(nodes)) if nodes else observed

    async def _groups(self, job: ArcFaceTrainingJob) -> frozenset[str]:
        """Names of the gang scheduler's groups that are there, where they should go."""
        groups = group_names(job) if job.status.phase in needs.GROUPLESS_PHASES else []
        found = await asyncio.gather(*(self.api.find(client.path_of(group)) for group in groups))
        return frozenset(group["metadata"]["name"] for group in found if group is not None)

    def _report(self, job: ArcFaceTrainingJob, pods: tuple[PodView, ...], tracker: JobTracker) -> Report | None:
        """The first pod's last answer; it is asked again when that is due, and the job looked at once it answers."""
        stage, status = stage_of(job.status), job.status
        period = (
            self.settings.progress_seconds if status.phase == stage.at_work else self.settings.starting_poll_seconds
        )
        own = (pod for pod in pods if pod.component == stage.component and pod.attempt == status.attempt)
        first = next((pod for pod in own if pod.index == 0), None)
        if first is None or first.address is None or first.ended is not None:
            return None
        if tracker.polled_at is None or self.clock() - tracker.polled_at >= period / 2:
            tracker.polled_at = self.clock()
            self.poller.poll(tracker.ref, first.address, stage.report)
        return self.poller.take(tracker.ref, first.address)


def _predecessor(job: ArcFaceTrainingJob, children: Iterable[PodView]) -> str | None:
    """Uid of the Job that an evaluator of an earlier release belongs to: today it is a pod of the job itself."""
    evaluators = (pod for pod in children if pod.component == EVALUATION.component)
    return next((pod.owner for pod in evaluators if pod.owner not in {None, job.metadata.uid}), None)
