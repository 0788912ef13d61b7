"""What is refused of a job's spec: what this release does not do yet, and templates that are none.

Only those fields of a template are checked that are read here; the API server checks them all in a cluster.
"""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from arcface_api.errors import InvalidInput
from arcface_api.model import Model
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.validation import NAME, Form
from arcface_api.unsupported import unsupported_workers

VARIABLE = Form("[^=\0]+", "must be the name of a variable, without '='")
ABSOLUTE_PATH = Form("/[^\0]*", "must be an absolute path")
SHOWN_PATH = Form(r"[^/\0][^\0]*", "must be a path below its volume")

Name = Annotated[str, AfterValidator(NAME.check)]


class Shape(Model):
    """Part of a pod; fields that are not read here may be anything."""

    model_config = ConfigDict(extra="ignore")


class Variable(Shape):
    """One variable of the environment; its value is looked at where it is used."""

    name: Annotated[str, AfterValidator(VARIABLE.check)]


class Mount(Shape):
    """Where a volume appears."""

    name: Name
    mount_path: Annotated[str, AfterValidator(ABSOLUTE_PATH.check)]
    sub_path: str = ""


class Port(Shape):
    """A port of a container."""

    container_port: int = Field(ge=1, le=65535)


class Container(Shape):
    """One container."""

    name: Name
    env: tuple[Variable, ...] = ()
    volume_mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()


class ShownField(Shape):
    """A file that shows a field of the pod."""

    path: Annotated[str, AfterValidator(SHOWN_PATH.check)]
    field_ref: dict[str, Any] = Field(default_factory=dict)


class ShownFields(Shape):
    """Files that show fields of the pod."""

    items: tuple[ShownField, ...] = ()


class Volume(Shape):
    """A volume; its source is looked at where it is used."""

    name: Name
    downward: ShownFields = Field(default=ShownFields(), alias="downwardAPI")


class PodSpec(Shape):
    """What a pod runs."""

    termination_grace_period_seconds: int = Field(default=0, ge=0)
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()


class Metadata(Shape):
    """What a pod is called."""

    annotations: dict[str, str] = Field(default_factory=dict)


class Template(Shape):
    """A pod template."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


def check_templates(job: ArcFaceTrainingJob) -> None:
    """InvalidInput, naming the field, where a template of the job is none."""
    evaluation = job.spec.evaluation
    check_template("spec.workers.template", job.spec.workers.template)
    check_template("spec.evaluation.template", None if evaluation is None else evaluation.template)


def check_template(field: str, template: dict[str, Any] | None) -> None:
    """InvalidInput, naming the field, where a template is none."""
    try:
        Template.from_json(json.dumps(template or {}), field)
    except InvalidInput as error:
        raise InvalidInput(f"{error}; correct the template") from None


def unsupported(spec: ArcFaceTrainingJobSpec) -> list[str]:
    """One sentence for each such field, with its path in the job."""
    return [f"spec.{sentence}" for sentence in unsupported_workers(spec.workers, spec.precision)]
