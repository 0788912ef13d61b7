"""Gathering everything that one decision about a job may look at, lost nodes included; nothing is decided here."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.controller.job_tracker import JobTracker
from arcface_operator.controller.progress_poller import ProgressPoller
from arcface_operator.decision import decide as needs
from arcface_operator.decision.observation import EvaluatorView, Observation, PodView
from arcface_operator.kubernetes.client import Api, path_of
from arcface_operator.kubernetes.prerequisites import PrerequisitesReader
from arcface_operator.kubernetes.reflector import Children
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.settings import Settings


@dataclass
class Observer:
    """Looks at the caches and, where a phase needs more than they hold, at the API server and rank 0."""

    api: Api
    pods: Children[PodView]
    evaluators: Children[EvaluatorView]
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
        return group is not None and await self.api.find(path_of(group)) is not None

    def _report(self, job: ArcFaceTrainingJob, pods: tuple[PodView, ...], tracker: JobTracker) -> TrainerReport | None:
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
