"""The resource ArcFaceTrainingJob as users write it and the API server returns it."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from arcface_api.model import Model
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.spec import ArcFaceTrainingJobSpec, WorkersSpec
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_api.resource.validation import CHILD_NAME_LIMIT, NAME_LEAVES_ROOM, NAME_PATTERN, validations


class ObjectMeta(Model):
    """The part of a Kubernetes object's metadata that is read here; the rest is kept but not looked at."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the job."""
    namespace: str = "default"
    """Namespace of the job."""
    uid: str | None = None
    """Identity given by the API server."""
    generation: int | None = None
    """Version of the spec, counted by the API server."""
    labels: dict[str, str] = {}
    """Labels."""
    annotations: dict[str, str] = {}
    """Annotations."""
    creation_timestamp: datetime | None = None
    """When the API server made it, to the second."""
    deletion_timestamp: str | None = None
    """Set by the API server while the object is being deleted."""
    owner_references: list[dict[str, Any]] = []
    """Owners."""


class ArcFaceTrainingJob(Model):
    """Trains ArcFace on every rank and evaluates the result."""

    model_config = ConfigDict(json_schema_extra=validations(NAME_LEAVES_ROOM))

    api_version: Literal["arcface.io/v1alpha1"] = API_VERSION
    """Group and version."""
    kind: Literal["ArcFaceTrainingJob"] = KIND
    """Kind."""
    metadata: ObjectMeta
    """Name and namespace."""
    spec: ArcFaceTrainingJobSpec
    """What the user asks for."""
    status: ArcFaceTrainingJobStatus = ArcFaceTrainingJobStatus()
    """What the operator has seen."""

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        limit = name_limit(self.spec.workers.replicas)
        name = self.metadata.name
        if len(name) > limit or re.fullmatch(NAME_PATTERN, name) is None:
            raise ValueError(NAME_LEAVES_ROOM.message)
        return self

    @property
    def gang(self) -> WorkersSpec:
        """The workers of the present attempt, fewer than the spec's where an elastic gang goes on without some.

        The total batch, and all that goes by it, is that of the spec.
        """
        size = self.status.elastic
        if size is None or size.attempt != self.status.attempt:
            return self.spec.workers
        return self.spec.workers.model_copy(update={"replicas": size.pods})


def name_limit(replicas: int) -> int:
    """Longest job name for which `<job>-worker-<max index>` and `<job>-evaluate` stay within 63 characters."""
    return CHILD_NAME_LIMIT - len("-worker-") - len(str(replicas - 1))
