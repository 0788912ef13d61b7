"""Gathering everything that one decision about a job may look at, lost nodes included; nothing is decided here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.controller.jobs import JobTracker
from arcface_operator.controller.progress_poller import Answer, ProgressPoller, Question
from arcface_operator.controller.word_listener import Place, WordListener
from arcface_operator.decision import decide as needs, ending, stages
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.decision.context import launch_of
from arcface_operator.decision.observation import HeardWords, ObjectView, Observation, PodView, stuck_since
from arcface_operator.decision.recovery import ladder
from arcface_operator.kubernetes import client, informer, outcomes
from arcface_operator.kubernetes.device_faults import DeviceFaultReader
from arcface_operator.kubernetes.prerequisites import PrerequisitesReader
from arcface_operator.kubernetes.queues import QueueReader
from arcface_operator.settings import Settings

Part = TypeVar("Part")


@dataclass
class Observer:
    """Looks at the caches and, where a phase needs more than they hold, at the API server and the first pod."""

    api: client.Api
    pods: informer.Informer[client.JobRef, PodView]
    prerequisites: PrerequisitesReader
    queues: QueueReader
    poller: ProgressPoller
    listener: WordListener
    settings: Settings
    now: Callable[[], datetime]
    device_faults: DeviceFaultReader
    clock: Callable[[], float] = time.monotonic
    objects: Callable[[client.JobRef], tuple[ObjectView, ...] | None] = lambda _: None
    """Services and ConfigMaps of a job, as far as they are watched."""

    async def observe(self, job: ArcFaceTrainingJob, tracker: JobTracker) -> Observation:
        """One job and everything about it; while all is well, the API server is asked for nothing.

        A part that cannot be read is unknown, and keeps nothing from being done that does not need it; all needs the
        pods. While they are not seen nobody watches the job, whose clocks begin anew after that.
        """
        error = self.pods.error_of(tracker.ref.namespace)
        if error is None:
            return await self._observe(job, tracker)
        tracker.since = self.now()
        return Observation(job=job, unread=(outcomes.failure_to_read("pods", error),), are_pods_unseen=True)

    async def _observe(self, job: ArcFaceTrainingJob, tracker: JobTracker) -> Observation:
        """A job whose pods are seen."""
        phase, stage, children = job.status.phase, stages.stage_of(job.status), self.pods.of(tracker.ref)
        # A job of this name before this one may have left children that are still to go.
        pods = tuple(pod for pod in children if pod.owner == job.metadata.uid)
        tracker.stuck_since = stuck_since(pods, tracker.stuck_since, self.now())
        is_empty = not any(pod.component == stage.component for pod in pods)
        waits = phase in needs.WAITING_PHASES and is_empty
        unread: list[ActionFailure] = []
        answer = self._answer(job, pods, tracker) if phase in needs.GANG_PHASES else None
        observed = Observation(
            job=job,
            pods=pods,
            earlier=tuple(pod for pod in children if pod.owner != job.metadata.uid),
            prerequisites=await _read("what the job needs", self.prerequisites.read(job), unread) if waits else None,
            report=None if answer is None else answer.report,
            sighting=None if answer is None else answer.sighting,
            words=self._words(job, pods, tracker),
            queue=await _read("what Kueue says", self.queues.read(job), unread),
            groups=await _read("the pod groups", self._groups(job), unread),
            stuck_since=tracker.stuck_since,
            watched_since=tracker.since,
            failures=tracker.failed,
            objects=self.objects(tracker.ref),
        )
        nodes = needs.nodes_in_question(observed, self.settings, self.now())
        # A job that is suspended blames nobody.
        has_cards = job.spec.workers.accelerator == "ascend" and phase in needs.GANG_PHASES and not job.spec.suspend
        began = self.now()
        faults, error = await self.device_faults.read(nodes) if nodes and has_cards else ({}, None)
        tracker.cards_unread_since = None if error is None else tracker.cards_unread_since or began
        if error is not None:
            unread.append(outcomes.failure_to_read("faults of cards", error))
        return replace(
            observed,
            unread=tuple(unread),
            lost_nodes=self.prerequisites.lost(nodes) if nodes else frozenset(),
            device_faults=faults,
            cards_unread_since=tracker.cards_unread_since,
        )

    def forget(self, ref: client.JobRef) -> None:
        """A job is gone: nobody of it is asked any more."""
        self.poller.forget(ref)
        self.listener.forget(ref)

    async def _groups(self, job: ArcFaceTrainingJob) -> dict[str, tuple[str, ...]] | None:
        """The gang scheduler's groups that are there, where that matters, each with its finalizers."""
        are_unwanted = job.spec.suspend or job.status.phase in needs.GROUPLESS_PHASES
        if not are_unwanted and job.status.phase != "Queued":
            return None
        found = await asyncio.gather(*(self.api.find(client.path_of(group)) for group in ending.group_names(job)))
        there = (group["metadata"] for group in found if group is not None)
        return {metadata["name"]: tuple(metadata.get("finalizers", [])) for metadata in there}

    def _answer(self, job: ArcFaceTrainingJob, pods: tuple[PodView, ...], tracker: JobTracker) -> Answer | None:
        """What the first pod last answered; it is asked again when that is due, and the job looked at once it answers.

        A pod is asked once its containers run: before that nobody is there to answer.
        """
        stage, status = stages.stage_of(job.status), job.status
        is_steady = status.phase == stage.at_work and not ladder.is_open(status)
        period = self.settings.progress_seconds if is_steady else self.settings.starting_poll_seconds
        own = [pod for pod in pods if pod.component == stage.component and pod.attempt == status.attempt]
        first = next((pod for pod in own if pod.index == 0), None)
        if first is None or first.address is None or first.phase != "Running" or first.ended is not None:
            return None
        uid, attempt = job.metadata.uid, status.attempt
        launch = launch_of(status, own)
        question = Question(address=first.address, job_uid=uid, attempt=attempt, kind=stage.report, launch=launch)
        if tracker.polled_at is None or self.clock() - tracker.polled_at >= period / 2:
            tracker.polled_at = self.clock()
            self.poller.poll(tracker.ref, question)
        return self.poller.take(tracker.ref, question)

    def _words(self, job: ArcFaceTrainingJob, pods: tuple[PodView, ...], tracker: JobTracker) -> HeardWords | None:
        """What the launchers of the present attempt say; they are listened to while they have ranks."""
        own = (pod for pod in pods if pod.component == stages.TRAINING.component and pod.attempt == job.status.attempt)
        first = next((pod for pod in own if pod.index == 0 and pod.phase == "Running" and pod.ended is None), None)
        has_gang = job.status.phase in needs.GANG_PHASES | {"Restarting"} and self.settings.restarts_in_place
        if first is None or first.address is None or not has_gang:
            self.listener.forget(tracker.ref)
            return None
        uid, attempt = job.metadata.uid, job.status.attempt
        return self.listener.listen(tracker.ref, Place(address=first.address, job_uid=uid, attempt=attempt))


async def _read(what: str, reading: Awaitable[Part], unread: list[ActionFailure]) -> Part | None:
    """A part of an observation; None, and why among what is unread, where the API server does not show it."""
    try:
        return await reading
    except (client.ApiError, client.Unreachable) as error:
        unread.append(outcomes.failure_to_read(what, error))
        return None
