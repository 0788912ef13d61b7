"""What the gang schedulers need to admit all rank pods of a job or none.

Volcano and the coscheduling plugin know a group by an object of their own, Kueue by labels and a count on the pods.
"""

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest, build_metadata
from arcface_operator.settings import Settings

VOLCANO = "volcano"
VOLCANO_GROUP = "scheduling.k8s.io/group-name"
VOLCANO_QUEUE = "scheduling.volcano.sh/queue-name"
COSCHEDULING_GROUP = "scheduling.x-k8s.io/pod-group"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
KUEUE_GROUP = "kueue.x-k8s.io/pod-group-name"
KUEUE_COUNT = "kueue.x-k8s.io/pod-group-total-count"
POD_GROUP_VERSIONS = {"volcano": "scheduling.volcano.sh/v1beta1", "coscheduling": "scheduling.x-k8s.io/v1alpha1"}
"""API versions of the schedulers' PodGroup."""


def build_pod_group(job: ArcFaceTrainingJob, settings: Settings) -> Manifest | None:
    """The scheduler's object for the gang; None where it has none."""
    scheduling = job.spec.scheduling
    if scheduling.gang not in POD_GROUP_VERSIONS:
        return None
    spec: Manifest = {"minMember": job.spec.workers.replicas, "minResources": _gang_resources(job)}
    if not spec["minResources"]:
        del spec["minResources"]
    if scheduling.gang == "volcano":
        if scheduling.queue is not None:
            spec["queue"] = scheduling.queue
        if scheduling.priority_class_name is not None:
            spec["priorityClassName"] = scheduling.priority_class_name
    else:
        spec["scheduleTimeoutSeconds"] = settings.gang_timeout_seconds
    return {
        "apiVersion": POD_GROUP_VERSIONS[scheduling.gang],
        "kind": "PodGroup",
        "metadata": build_metadata(job, job.metadata.name, "worker"),
        "spec": spec,
    }


def _gang_resources(job: ArcFaceTrainingJob) -> Manifest:
    """Devices of the whole gang."""
    workers = job.spec.workers
    return {workers.resource_name: workers.world_size} if workers.accelerator == "ascend" else {}


def gang_metadata(job: ArcFaceTrainingJob, attempt: int) -> Manifest:
    """Labels and annotations by which a gang scheduler knows a rank pod."""
    scheduling, name = job.spec.scheduling, job.metadata.name
    if scheduling.gang == "volcano":
        return {"annotations": {VOLCANO_GROUP: name}}
    if scheduling.gang == "coscheduling":
        return {"labels": {COSCHEDULING_GROUP: name}}
    if scheduling.gang == "kueue":
        # A group of its own for each attempt: Kueue takes a pod of the same name for a replacement otherwise.
        labels = {KUEUE_QUEUE: str(scheduling.queue), KUEUE_GROUP: f"{name}-{attempt}"}
        return {"labels": labels, "annotations": {KUEUE_COUNT: str(job.spec.workers.replicas)}}
    return {}


def lone_pod_metadata(job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """Annotations by which a scheduler lets a pod outside of the gang, the evaluator's, into the job's queue.

    Volcano makes a PodGroup for each pod without one, in the queue of this annotation and with the pod's priority and
    resources (`pg_controller_handler.go`); Kueue goes by a label of the pod's Job.
    """
    queue = job.spec.scheduling.queue
    if queue is None or gang_scheduler(job, settings) != VOLCANO:
        return {}
    return {"annotations": {VOLCANO_QUEUE: queue}}


def gang_scheduler(job: ArcFaceTrainingJob, settings: Settings) -> str | None:
    """Scheduler of all pods of a job; None leaves it to the cluster.

    The evaluator's pods go through it, too: where the device plugin works with Volcano (-volcanoType), it gives part of
    a node's cards only to pods that Volcano has given these cards, and all others end as UnexpectedAdmissionError.
    """
    defaults = {"volcano": VOLCANO, "coscheduling": settings.coscheduling_scheduler}
    return job.spec.scheduling.scheduler_name or defaults.get(job.spec.scheduling.gang)
