"""What a decision consists of: the status to write and the actions to take, in this order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.manifests.metadata import Manifest


@dataclass(frozen=True)
class Apply:
    """Server-side apply of an object whose content we own."""

    manifest: Manifest


@dataclass(frozen=True)
class Rehearse:
    """The API server's word on an object that is created later only; nothing is made."""

    manifest: Manifest


@dataclass(frozen=True)
class Create:
    """Creation of an object whose content is fixed; one that exists already and is ours is as good."""

    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Deletion of exactly this object, never of a namesake."""

    resource: Literal["pods", "jobs"]
    name: str
    uid: str
    is_forced: bool = False
    """Without grace: its node is gone."""


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Annotations on exactly this pod; its kubelet refreshes the pod's volumes when they change."""

    name: str
    uid: str
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Dissolve:
    """Deletion of a gang scheduler's group, if it is the job's."""

    group: Manifest


@dataclass(frozen=True)
class DeleteJob:
    """Deletion of the job itself, children included."""


@dataclass(frozen=True, kw_only=True)
class Announce:
    """An event on the job."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Action = Apply | Rehearse | Create | Delete | Annotate | Dissolve | DeleteJob | Announce


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The outcome of a decision."""

    status: ArcFaceTrainingJobStatus
    actions: tuple[Action, ...] = ()
    look_again_seconds: float | None = None
    """When to decide again even if nothing has been heard; None: only then."""
