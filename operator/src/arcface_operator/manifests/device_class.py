"""Which devices a job gets, and what the administrator's settings say of their kind.

The resource's definition is one for all releases of a cluster, so that it holds no default for the name of a device:
the operator that looks after a job fills it in, and keeps what it was when the job first took devices.
"""

from typing import Any

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.settings import DeviceClass, Settings

OWN_WORDS = ("device_annotation", "chip_family", "trainer_image")
"""What a class may say otherwise than the settings."""


def with_device_class(job: ArcFaceTrainingJob, settings: Settings) -> tuple[ArcFaceTrainingJob, Settings]:
    """The job with its extended resource and the nodes of its class, and the settings as they hold for that class.

    A job may name a class or, as jobs of earlier releases all do, an extended resource. What is neither stays as it is:
    the job waits for it (`decision.prerequisites`).
    """
    workers = job.spec.workers
    if workers.accelerator != "ascend":
        return job, settings
    wanted = workers.resource_name or job.status.resource_name or settings.resource_name
    found = _class_of(wanted, settings)
    if found is None:
        return _with_workers(job, resource_name=wanted), settings
    own = {name: value for name in OWN_WORDS if (value := getattr(found, name)) is not None}
    changed = _with_workers(
        job,
        resource_name=found.resource_name or settings.resource_name,
        template=_with_nodes(workers.template, found.node_selector),
    )
    return changed, settings.model_copy(update=own)


def _class_of(wanted: str, settings: Settings) -> DeviceClass | None:
    """The class of that name, else the first that names that resource; None where the settings alone say it.

    One may name the settings' own resource: jobs that ask for no kind are then of that class, and on its nodes.
    """
    classes = settings.device_classes
    named = (each for each in classes if each.name == wanted)
    return next(named, next((each for each in classes if each.resource_name == wanted), None))


def _with_workers(job: ArcFaceTrainingJob, **fields: Any) -> ArcFaceTrainingJob:
    """The job with other fields of its workers."""
    workers = job.spec.workers.model_copy(update=fields)
    return job.model_copy(update={"spec": job.spec.model_copy(update={"workers": workers})})


def _with_nodes(template: Manifest | None, labels: dict[str, str]) -> Manifest | None:
    """The template with these labels in its node selector, under its own; one that is none is left for its refusal."""
    spec = (template or {}).get("spec", {})
    own = spec.get("nodeSelector", {}) if isinstance(spec, dict) else None
    if not labels or not isinstance(own, dict):
        return template
    return {**(template or {}), "spec": {**spec, "nodeSelector": {**labels, **own}}}
