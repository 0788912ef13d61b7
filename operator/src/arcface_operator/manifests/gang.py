"""What the gang schedulers need to admit all pods of a gang or none.

Kubernetes' own scheduler, Volcano and the coscheduling plugin know a group by an object of their own, to which each pod
belongs by a field, an annotation or a label.
"""

from dataclasses import dataclass

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest, build_metadata
from arcface_operator.manifests.pod_template import merged
from arcface_operator.settings import Settings

VOLCANO = "volcano"
VOLCANO_GROUP = "scheduling.k8s.io/group-name"
COSCHEDULING_GROUP = "scheduling.x-k8s.io/pod-group"
POD_GROUP_VERSIONS = {
    "native": "scheduling.k8s.io/v1alpha2",
    "volcano": "scheduling.volcano.sh/v1beta1",
    "coscheduling": "scheduling.x-k8s.io/v1alpha1",
}
"""API versions of the schedulers' PodGroup."""


@dataclass(frozen=True, kw_only=True)
class Gang:
    """Pods of one kind that are of use only together."""

    component: str
    """Label of their kind."""
    name: str
    """Of the scheduler's group."""
    pods: int
    devices: int
    """Of each pod."""
    marks: dict[str, str]
    """Annotations by which Ascend's plugin for Volcano places them; it looks for them on the group."""


def build_pod_group(job: ArcFaceTrainingJob, gang: Gang, settings: Settings) -> Manifest | None:
    """The scheduler's object for a gang; None where it has none."""
    scheduling, group = job.spec.scheduling, name_pod_group(job, gang.component, gang.name)
    if group is None:
        return None
    if scheduling.gang == "native":
        return {**group, "spec": {"schedulingPolicy": {"gang": {"minCount": gang.pods}}}}
    spec: Manifest = {"minMember": gang.pods}
    if job.spec.workers.accelerator == "ascend":
        spec["minResources"] = {job.spec.workers.device_resource: gang.pods * gang.devices}
    if scheduling.gang == "volcano":
        if gang.marks:
            group["metadata"]["annotations"] = gang.marks
        if scheduling.queue is not None:
            spec["queue"] = scheduling.queue
        if scheduling.priority_class_name is not None:
            spec["priorityClassName"] = scheduling.priority_class_name
    else:
        spec["scheduleTimeoutSeconds"] = settings.gang_timeout_seconds
    return {**group, "spec": spec}


def name_pod_group(job: ArcFaceTrainingJob, component: str, name: str) -> Manifest | None:
    """The scheduler's object without its content; None where it has none."""
    version = POD_GROUP_VERSIONS.get(job.spec.scheduling.gang)
    if version is None:
        return None
    return {"apiVersion": version, "kind": "PodGroup", "metadata": build_metadata(job, name, component)}


def build_pod_metadata(job: ArcFaceTrainingJob, gang: Gang, name: str, index: int, attempt: int) -> Manifest:
    """Metadata of a gang's pod: whose it is, its place in the gang, and what the gang scheduler knows it by."""
    metadata = merged(build_metadata(job, name, gang.component), _group_marks(job, gang), "metadata")
    metadata["labels"] |= {pods.RANK_INDEX_LABEL: str(index), pods.ATTEMPT_LABEL: str(attempt)}
    return metadata


def _group_marks(job: ArcFaceTrainingJob, gang: Gang) -> Manifest:
    """Labels and annotations by which a gang scheduler knows a pod of a group."""
    if job.spec.scheduling.gang == "volcano":
        return {"annotations": {VOLCANO_GROUP: gang.name}}
    if job.spec.scheduling.gang == "coscheduling":
        return {"labels": {COSCHEDULING_GROUP: gang.name}}
    return {}


def build_scheduling(job: ArcFaceTrainingJob, gang: Gang, settings: Settings) -> Manifest:
    """Fields of the spec of a gang's pod that say who schedules it, with whom and before whom.

    The evaluator's pods go through the same scheduler as the ranks': where the device plugin works with Volcano
    (-volcanoType), it gives part of a node's cards only to pods that Volcano has given these cards, and all others end
    as UnexpectedAdmissionError.
    """
    scheduling = job.spec.scheduling
    defaults = {"volcano": VOLCANO, "coscheduling": settings.coscheduling_scheduler}
    fields: Manifest = {}
    if scheduling.priority_class_name is not None:
        fields["priorityClassName"] = scheduling.priority_class_name
    if (scheduler := scheduling.scheduler_name or defaults.get(scheduling.gang)) is not None:
        fields["schedulerName"] = scheduler
    if scheduling.gang == "native":
        fields["schedulingGroup"] = {"podGroupName": gang.name}
    return fields
