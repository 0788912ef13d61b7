"""What a decision consists of: the status to write and the actions to take, in this order.

An action names the condition that depends on it: where it fails that one is False, with the API server's words.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from arcface_api.resource.status import ArcFaceTrainingJobStatus, ConditionType
from arcface_operator.decision.answers.action_failure import Family, Purpose
from arcface_operator.manifests.metadata import Manifest


@dataclass(frozen=True)
class Apply:
    """Server-side apply of an object whose content we own."""

    manifest: Manifest
    condition: ConditionType = "Ready"


@dataclass(frozen=True)
class DryRunCreate:
    """The API server's word on an object that is created later only; nothing is made."""

    manifest: Manifest
    condition: ConditionType = "Ready"


@dataclass(frozen=True)
class Create:
    """Creation of an object whose content is fixed; one that exists already and is ours is as good."""

    manifest: Manifest
    condition: ConditionType = "Ready"


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Deletion of exactly this object, never of a namesake."""

    resource: Literal["pods", "workloads"]
    name: str
    uid: str
    grace_seconds: int | None = None
    """Time to end in; None leaves it to the object, 0 asks nobody, since its node is gone."""
    condition: ConditionType = "Ready"


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Annotations on exactly this pod; its kubelet refreshes the pod's volumes when they change."""

    name: str
    uid: str
    annotations: Mapping[str, str]
    condition: ConditionType


@dataclass(frozen=True)
class DeletePodGroup:
    """Deletion of a gang scheduler's group, if it is the job's."""

    group: Manifest
    condition: ConditionType = "Ready"


@dataclass(frozen=True, kw_only=True)
class WriteWorkloadStatus:
    """Fields of the status of exactly this Workload of Kueue, if it is still the one that was decided on."""

    name: str
    uid: str
    version: str
    status: Manifest
    condition: ConditionType = "Ready"


@dataclass(frozen=True)
class DeleteJob:
    """Deletion of the job itself, children included."""

    condition: ConditionType = "Ready"


@dataclass(frozen=True, kw_only=True)
class EmitEvent:
    """An event on the job."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Request = Apply | DryRunCreate | Create | Delete | Annotate | DeletePodGroup | WriteWorkloadStatus | DeleteJob
"""What a condition depends on."""
Action = Request | EmitEvent


class Rollout(Enum):
    """How objects are created."""

    AT_ONCE = "at once"
    ONE_FIRST = "one first"
    """The others follow once it is accepted, twice as many each time: the last try failed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The outcome of a decision."""

    status: ArcFaceTrainingJobStatus
    actions: tuple[Action, ...] = ()
    rollout: Rollout = Rollout.AT_ONCE
    look_again_seconds: float | None = None
    """When to decide again even if nothing has been heard; None: only then."""

    def without(self, families: Collection[Family]) -> "Plan":
        """The plan less the actions of these families."""
        kept = (item for item in self.actions if isinstance(item, EmitEvent) or family_of(item) not in families)
        return replace(self, actions=tuple(kept))


def family_of(action: Request) -> Family:
    """The actions that an action waits with where one of them has failed."""
    match action:
        case Delete() | DeletePodGroup() | DeleteJob():
            return action.condition, Purpose.REMOVAL
        case WriteWorkloadStatus():
            return action.condition, Purpose.TELLING_KUEUE
        case Apply() | DryRunCreate() | Create() | Annotate():
            return action.condition, Purpose.MAKING


def earliest(*seconds: float | None) -> float | None:
    """The smallest of the times that are there."""
    return min((time for time in seconds if time is not None), default=None)
