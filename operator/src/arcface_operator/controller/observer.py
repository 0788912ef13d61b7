"""Gathering everything that one decision about a job may look at, lost nodes included; nothing is decided here.

Rank 0 is asked for its report beside everything else, since a pod may answer slowly, or never.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import httpx

from arcface_api.contract import pod_environment, reports
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.controller.jobs import JobTracker
from arcface_operator.decision import decide as needs
from arcface_operator.decision.observation import EvaluatorView, Observation, PodView
from arcface_operator.kubernetes import client, reflector
from arcface_operator.kubernetes.prerequisites import PrerequisitesReader
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.settings import Settings

TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
IN_FLIGHT = 64


class ProgressPoller:
    """Reads /progress of rank pods and keeps each answer until it is taken."""

    def __init__(self, answered: Callable[[client.JobRef], None]) -> None:
        self.answered = answered
        # Pods are reached directly, whatever proxy leads out of the cluster.
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self.in_flight = asyncio.Semaphore(IN_FLIGHT)
        self.polls: dict[client.JobRef, asyncio.Task[None]] = {}
        self.answers: dict[client.JobRef, tuple[str, reports.TrainerReport]] = {}

    def poll(self, ref: client.JobRef, address: str) -> None:
        """Have a pod asked unless it is being asked already."""
        if ref not in self.polls:
            task = self.polls[ref] = asyncio.create_task(self._fetch(ref, address))
            task.add_done_callback(lambda _: self.polls.pop(ref, None))

    def take(self, ref: client.JobRef, address: str) -> reports.TrainerReport | None:
        """The answer of the pod at this address, once."""
        answer = self.answers.pop(ref, None)
        return answer[1] if answer is not None and answer[0] == address else None

    def forget(self, ref: client.JobRef) -> None:
        """The job is gone."""
        self.answers.pop(ref, None)

    async def _fetch(self, ref: client.JobRef, address: str) -> None:
        """Ask a pod; only an answer is told of."""
        async with self.in_flight:
            report = await self._read(address)
        if report is not None:
            self.answers[ref] = (address, report)
            self.answered(ref)

    async def _read(self, address: str) -> reports.TrainerReport | None:
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
            return reports.TrainerReport.parse(content) if response.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self.polls.values()):
            task.cancel()
        await self.client.aclose()


@dataclass
class Observer:
    """Looks at the caches and, where a phase needs more than they hold, at the API server and rank 0."""

    api: client.Api
    pods: reflector.Children[PodView]
    evaluators: reflector.Children[EvaluatorView]
    prerequisites: PrerequisitesReader
    poller: ProgressPoller
    settings: Settings
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic

    async def observe(self, job: ArcFaceTrainingJob, tracker: JobTracker) -> Observation:
        """One job and everything about it; while all is well, the API server is asked for nothing."""
        # A job of this name before this one may have left children that are still to go.
        evaluators = {
            evaluator.uid: evaluator
            for evaluator in self.evaluators.of(tracker.ref)
            if evaluator.owner == job.metadata.uid
        }
        owners = {job.metadata.uid, *evaluators}
        phase, pods = job.status.phase, tuple(pod for pod in self.pods.of(tracker.ref) if pod.owner in owners)
        is_empty = not any(pod.component == "worker" for pod in pods)
        waits = phase in needs.WAITING_PHASES and is_empty
        observed = Observation(
            job=job,
            pods=pods,
            evaluator=next(iter(evaluators.values()), None),
            prerequisites=await self.prerequisites.read(job) if waits else None,
            report=self._report(job, pods, tracker) if phase in needs.GANG_PHASES else None,
            podless_since=self._podless_since(evaluators, pods, tracker),
            has_group=await self._has_group(job),
            watched_since=tracker.since,
            refusal=tracker.refusal,
        )
        nodes = needs.nodes_in_question(observed, self.settings, self.now())
        return replace(observed, lost_nodes=await self.prerequisites.lost(nodes)) if nodes else observed

    def _podless_since(
        self, evaluators: Mapping[str, EvaluatorView], pods: tuple[PodView, ...], tracker: JobTracker
    ) -> datetime | None:
        """Since when the evaluator has no pod; its Job does not say."""
        if not evaluators or any(pod.component == "evaluator" for pod in pods):
            tracker.podless_since = None
        elif tracker.podless_since is None:
            tracker.podless_since = self.now()
        return tracker.podless_since

    async def _has_group(self, job: ArcFaceTrainingJob) -> bool:
        """Whether the gang scheduler's group is there, where it should go."""
        if job.status.phase not in needs.GROUPLESS_PHASES:
            return False
        group = build_pod_group(job, self.settings)
        return group is not None and await self.api.find(client.path_of(group)) is not None

    def _report(
        self, job: ArcFaceTrainingJob, pods: tuple[PodView, ...], tracker: JobTracker
    ) -> reports.TrainerReport | None:
        """Rank 0's last answer; it is asked again when that is due, and the job looked at once it has answered."""
        attempt, is_training = job.status.attempt, job.status.phase == "Training"
        period = self.settings.progress_seconds if is_training else self.settings.starting_poll_seconds
        first = next((pod for pod in pods if pod.index == 0 and pod.attempt == attempt), None)
        if first is None or first.address is None or first.ended is not None:
            return None
        if tracker.polled_at is None or self.clock() - tracker.polled_at >= period / 2:
            tracker.polled_at = self.clock()
            self.poller.poll(tracker.ref, first.address)
        return self.poller.take(tracker.ref, first.address)
