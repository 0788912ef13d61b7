"""One decision's input, with the facts that several rules derive from it, and the status as decided so far."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal, TypedDict, Unpack

from arcface_api.contract.launcher_words import LaunchCall
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_api.resource import status as api
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.decision.answers.action_failure import REFUSED, UNAVAILABLE, UNREADABLE, ActionFailure
from arcface_operator.decision.observation import NO_ATTEMPT, Observation, PodView
from arcface_operator.decision.stages import TRAINING, Stage, stage_of
from arcface_operator.manifests.rank_variables import has_rank_table
from arcface_operator.settings import Settings

MESSAGE_LIMIT = 1024
UNSHAKEN: frozenset[api.ConditionType] = frozenset({"Training", "Complete", "Failed"})
"""Conditions that go with a phase, whatever fails."""
ROOM: tuple[api.ConditionType, ...] = ("Ready", "Scheduled")
"""Those that come and go with the room for a gang; Ready also tells of what fails while it has room."""
REASON_LIMIT = 128


class StatusChanges(TypedDict, total=False):
    """The fields of a status, each with its type: a test compares them with the model's."""

    phase: api.Phase | None
    conditions: list[api.Condition]
    observed_generation: int | None
    attempt: int
    launch: int
    replacement: api.Replacement | None
    image: str | None
    resource_name: str | None
    verified: api.VerifiedSets | None
    restarts: int
    recoveries: list[api.Recovery]
    counted_restarts: int
    forgiven_restarts: int
    uncounted_restart_times: list[datetime]
    avoided_nodes: list[api.AvoidedNode]
    vain_attempts: int
    refused_attempts: int
    restarted_at: datetime | None
    start_time: datetime | None
    running_time: datetime | None
    training_time: datetime | None
    active_seconds: int
    training_completion_time: datetime | None
    completion_time: datetime | None
    workers: api.WorkersStatus | None
    elastic: api.ElasticStatus | None
    rank_table: api.RankTableStatus | None
    progress: api.Progress | None
    checkpoint: api.CheckpointStatus | None
    evaluation: api.EvaluationStatus | None
    evaluation_progress: api.EvaluationProgress | None
    evaluation_hash: str | None
    workload: str | None
    failure: api.FailureStatus | None


@dataclass(frozen=True)
class DecisionContext:
    """A job at one moment, and the status as decided so far."""

    observed: Observation
    status: api.ArcFaceTrainingJobStatus
    settings: Settings
    now: datetime

    @cached_property
    def job(self) -> ArcFaceTrainingJob:
        """The job, with the status as decided so far."""
        return self.observed.job.model_copy(update={"status": self.status})

    @property
    def spec(self) -> ArcFaceTrainingJobSpec:
        """What its user asks for."""
        return self.observed.job.spec

    @property
    def gang_spec(self) -> ArcFaceTrainingJobSpec:
        """The spec with the workers of the present attempt, for what goes by the ranks that are there."""
        return self.spec.model_copy(update={"workers": self.job.gang})

    @property
    def stage(self) -> Stage:
        """The stage that the job is in."""
        return stage_of(self.status)

    @property
    def pods(self) -> tuple[PodView, ...]:
        """Pods of the present attempt, in the order of their ranks."""
        return self.observed.gangs.get((self.stage.component, self.status.attempt), ())

    @property
    def old_pods(self) -> tuple[PodView, ...]:
        """Pods of the stage's earlier attempts; the spare ones once these are gone, and keep their room until then.

        Nobody waits for a spare one on a node that is lost: nobody needs its name.
        """
        present = self.stage.component, self.status.attempt
        gangs = {gang: pods for gang, pods in self.observed.gangs.items() if gang[0] == present[0] and gang != present}
        spare = gangs.pop((self.stage.component, NO_ATTEMPT), ())
        lost = [pod for pod in self.spare_pods if pod.node in self.observed.lost_nodes]
        there = tuple(pod for pod in spare if pod not in lost)
        return tuple(pod for pods in gangs.values() for pod in pods) or there

    @property
    def spare_pods(self) -> tuple[PodView, ...]:
        """Pods that wait for room for a larger gang; a rank pod that has lost its label has a rank pod's name."""
        job, unnumbered = self.job.metadata.name, self.observed.gangs.get((TRAINING.component, NO_ATTEMPT), ())
        return tuple(pod for pod in unnumbered if pod.name != TRAINING.pod_name(job, pod.index))

    @property
    def gang_size(self) -> int:
        """Pods that an attempt needs."""
        return self.stage.pods(self.job)

    @property
    def missing_pod(self) -> int | None:
        """Index of the first pod of the present attempt that is not there."""
        present = {pod.index for pod in self.pods}
        return next((index for index in range(self.gang_size) if index not in present), None)

    @cached_property
    def launch(self) -> int:
        """The present launch of the attempt's ranks; pods know it, too, and an earlier release leaves it to them."""
        return launch_of(self.status, self.pods)

    @property
    def is_out_of_sight(self) -> bool:
        """Whether the first pod was asked again and again, and nobody answered."""
        return false_since(self.status, "Reachable") is not None

    def pod_name(self, index: int) -> str:
        """Name of a pod of the stage."""
        return self.stage.pod_name(self.job.metadata.name, index)

    @property
    def has_rank_table(self) -> bool:
        """Whether the ranks find each other by a rank table."""
        return has_rank_table(self.job)

    def with_status(self, **changes: Unpack[StatusChanges]) -> "DecisionContext":
        """The context after a change of status.

        Raises:
            pydantic.ValidationError: for a field that a status does not have, or a value that the field cannot hold.
        """
        return replace(self, status=api.ArcFaceTrainingJobStatus.model_validate({**dict(self.status), **changes}))

    def with_condition(
        self, kind: api.ConditionType, *, truth: bool | None, reason: str, message: str = ""
    ) -> "DecisionContext":
        """The context with one condition set, None for unknown: its time changes only when its truth does."""
        old = condition(self.status, kind)
        status: Literal["True", "False", "Unknown"] = "Unknown" if truth is None else "True" if truth else "False"
        new = api.Condition(
            type=kind,
            status=status,
            reason=_camel_case(reason),
            message=message[:MESSAGE_LIMIT],
            observed_generation=self.job.metadata.generation,
            last_transition_time=old.last_transition_time if old is not None and old.status == status else self.now,
        )
        others = [item for item in self.status.conditions if item.type != kind]
        return self.with_status(conditions=sorted([*others, new], key=lambda item: item.type))

    def with_sighting(self) -> "DecisionContext":
        """The context with whether the first pod can be reached: one question without an answer says nothing yet."""
        seen = self.observed.sighting
        if seen is None or not (seen.is_answer or self.is_past(seen.since, self.settings.unreachable_seconds)):
            return self
        return self.with_condition("Reachable", truth=seen.is_answer, reason=seen.reach.value, message=seen.sentence)

    def with_failures(self, failures: Iterable[ActionFailure]) -> "DecisionContext":
        """The context with the API server's words at the conditions whose actions failed, and at no others.

        The training, once it is under way, hangs on no action any more; nor does the end of a job. A gang at work that
        lacked an object for a while is ready again once that is there.
        """
        told: DecisionContext = self
        has_room = self.status.phase in {"Starting", self.stage.at_work}
        failed = {failure.condition: failure for failure in reversed(list(failures))}
        for item in self.status.conditions:
            if item.reason in {REFUSED, UNAVAILABLE, UNREADABLE} and item.type not in failed:
                message = "what failed before is done, or not needed any more"
                truth = has_room and item.type == "Ready"
                told = told.with_condition(item.type, truth=truth, reason="Settled", message=message)
        for kind, failure in failed.items():
            if kind not in UNSHAKEN or true_since(self.status, kind) is None:
                told = told.with_condition(kind, truth=False, reason=failure.reason, message=failure.message)
        return told

    def with_nobody_to_see(self) -> "DecisionContext":
        """The context of a job without a gang at work, of which it is not known whether it can be reached."""
        reachable = condition(self.status, "Reachable")
        if reachable is None or reachable.status == "Unknown":
            return self
        return self.with_condition("Reachable", truth=None, reason="NotRunning", message="no rank runs")

    def is_past(self, since: datetime | None, seconds: float | None) -> bool:
        """Whether a limit in seconds since a moment is there and over."""
        return since is not None and seconds is not None and self.now >= since + timedelta(seconds=seconds)

    def seconds_left(self, since: datetime | None, seconds: float | None) -> float | None:
        """Time until a limit is over; None where there is no limit."""
        if since is None or seconds is None:
            return None
        return max(0.0, (since + timedelta(seconds=seconds) - self.now).total_seconds())


def launch_of(status: api.ArcFaceTrainingJobStatus, pods: Iterable[PodView]) -> int:
    """The present launch of the ranks of an attempt, whose pods these are."""
    told = (pod.annotations.get(LAUNCH_ANNOTATION) for pod in pods)
    return max([status.launch, *(LaunchCall.parse(text).launch for text in told if text)])


def condition(status: api.ArcFaceTrainingJobStatus, kind: api.ConditionType) -> api.Condition | None:
    """A condition, None where it was never set."""
    return next((item for item in status.conditions if item.type == kind), None)


def true_since(status: api.ArcFaceTrainingJobStatus, kind: api.ConditionType) -> datetime | None:
    """Since when a condition holds; None where it does not."""
    return _since(condition(status, kind), "True")


def false_since(status: api.ArcFaceTrainingJobStatus, kind: api.ConditionType) -> datetime | None:
    """Since when a condition is known not to hold."""
    return _since(condition(status, kind), "False")


def room_since(status: api.ArcFaceTrainingJobStatus) -> datetime | None:
    """Since when every pod of the gang has a node; None where one has none."""
    return _since(_scheduled(status), "True")


def waiting_since(status: api.ArcFaceTrainingJobStatus) -> datetime | None:
    """Since when the gang has no room."""
    return _since(_scheduled(status), "False")


def _scheduled(status: api.ArcFaceTrainingJobStatus) -> api.Condition | None:
    """Whether there is room for the gang; earlier releases said it of the whole job, with all else that it lacked."""
    return condition(status, "Scheduled") or condition(status, "Ready")


def _since(found: api.Condition | None, status: Literal["True", "False"]) -> datetime | None:
    """Since when a condition has a status; None where it has another."""
    return found.last_transition_time if found is not None and found.status == status else None


def latest(*moments: datetime | None) -> datetime | None:
    """The last of the moments that are there."""
    return max((moment for moment in moments if moment is not None), default=None)


def _camel_case(reason: str) -> str:
    """A reason in the form that conditions allow: kubelets also say `OutOfhuawei.com/Ascend910`."""
    return re.sub(r"[^A-Za-z0-9]+", "", reason)[:REASON_LIMIT].lstrip("0123456789") or "Unknown"
