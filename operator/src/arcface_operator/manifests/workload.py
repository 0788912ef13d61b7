"""Kueue's Workload of a gang: what it asks for, what Kueue answers, and what the operator says back in its status.

Kueue v0.17 keeps quota for a Workload and knows nothing of its pods: a controller makes the Workload, starts pods once
it is admitted, and stops them and gives the admission back when it is evicted, as pkg/controller/jobframework in
sigs.k8s.io/kueue does for Kubernetes' own Jobs. No pod carries Kueue's finalizer or gate, so that each goes when it is
done, and a job that waits holds no pods at all.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arcface_api.contract.pod_environment import COMPONENT_LABEL
from arcface_api.names import GROUP
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.gang import Gang
from arcface_operator.manifests.metadata import Manifest, build_metadata

KUEUE_VERSION = "kueue.x-k8s.io/v1beta2"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
"""Label of a job that names a WorkloadPriorityClass, which goes before the priority class of its pods."""
POD_GROUP_SIZE = "kueue.x-k8s.io/pod-group-total-count"
"""Annotation of pods that earlier releases made: Kueue admitted them as a group, without a Workload of ours."""
EVALUATION_ANNOTATION = f"{GROUP}/evaluation"
"""Which wish for an evaluation a Workload is about: users may wish for another one."""
POD_SET = "main"
CONTAINER_FIELDS = ("name", "image", "resources", "restartPolicy")
SPEC_FIELDS = ("nodeSelector", "affinity", "tolerations", "priorityClassName", "runtimeClassName", "overhead")
"""Of a pod: what Kueue counts and chooses flavours by. A field that is newer than Kueue's schema would be refused."""
COMES_BACK = frozenset({"Preempted", "NodeFailures"})
"""Reasons of an eviction after which a Workload may be admitted at once; after others Kueue says when."""
WAIT_FOR_RECOVERY = "WaitForRecovery"
"""Kueue's word for pods that were ready and are not, by which it knows that their `recoveryTimeout` runs."""


@dataclass(frozen=True, kw_only=True)
class Priority:
    """A class by which Kueue orders Workloads."""

    group: str
    kind: str
    name: str
    value: int


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What Kueue's flavours and admission checks ask of the pods of a Workload."""

    node_selector: Mapping[str, str]
    tolerations: tuple[Manifest, ...] = ()
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class WorkloadView:
    """A Workload as Kueue has it."""

    name: str
    uid: str
    version: str
    """By which a change is refused where Kueue has changed it meanwhile."""
    generation: int
    owner: str | None
    component: str
    evaluation: str | None
    is_leaving: bool
    finalizers: tuple[str, ...] = ()
    """Who must let go of it before it is gone."""
    is_active: bool
    assignment: Manifest | None
    """Of its pods, while quota is reserved."""
    checks: tuple[Manifest, ...] = ()
    conditions: Mapping[str, Manifest]
    """By type."""

    def has(self, condition: str) -> bool:
        """Whether a condition holds."""
        return bool(self.conditions.get(condition, {}).get("status") == "True")

    @property
    def is_finished(self) -> bool:
        """Whether it has had all that it asked for."""
        return self.has("Finished")

    @property
    def is_evicted(self) -> bool:
        """Whether Kueue wants back the quota that it still holds."""
        return self.has("Evicted") and self.has("QuotaReserved")

    @property
    def may_run(self) -> bool:
        """Whether pods may be there for it."""
        return self.has("Admitted") and not (self.has("Evicted") or self.is_finished or self.is_leaving)

    def words(self, condition: str) -> str:
        """What is said of a condition."""
        found = self.conditions.get(condition, {})
        return str(found.get("message") or found.get("reason") or "")


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """What Kueue's part of the cluster says of one job."""

    workloads: Mapping[str, WorkloadView]
    """Of its stages, by the component of their pods."""
    priority: Priority | None = None
    placement: Placement | None = None
    """Of the pods of the stage that the job is in, once it may run."""
    problem: str | None = None
    """What is missing, or must not be read; nothing is begun before it is there."""


def workload_of(job: ArcFaceTrainingJob, queue: QueueView | None, component: str) -> WorkloadView | None:
    """Of a stage, unless it is somebody else's or there is none."""
    found = None if queue is None else queue.workloads.get(component)
    return found if found is not None and found.owner == job.metadata.uid else None


def view_workload(workload: Manifest) -> WorkloadView:
    """A Workload of ours as the API server returns it."""
    metadata, spec, status = workload["metadata"], workload["spec"], workload.get("status", {})
    assignments = (status.get("admission") or {}).get("podSetAssignments", [])
    owners = metadata.get("ownerReferences", [])
    return WorkloadView(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        owner=next((owner["uid"] for owner in owners if owner.get("controller")), None),
        component=metadata.get("labels", {}).get(COMPONENT_LABEL, ""),
        evaluation=metadata.get("annotations", {}).get(EVALUATION_ANNOTATION),
        is_leaving="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers", [])),
        is_active=spec.get("active", True),
        assignment=next(iter(assignments), None),
        checks=tuple(status.get("admissionChecks", [])),
        conditions={item["type"]: item for item in status.get("conditions", [])},
    )


def workload_name(job: ArcFaceTrainingJob, gang: str) -> str:
    """Name of the Workload of a gang that is about to queue; one that queues anew has another.

    Kueue v0.17 keeps its books by name and forgets a deleted Workload some time later, together with whatever has come
    under that name meanwhile, which then waits for ever (WorkloadReconciler.deleteWorkloadFromCaches).
    """
    status = job.status
    begun = int(status.start_time.timestamp()) if status.start_time is not None else ""
    turn = f"{job.metadata.uid} {status.attempt} {begun}"
    return f"{gang}-{hashlib.sha256(turn.encode()).hexdigest()[:8]}"


def build_workload(
    job: ArcFaceTrainingJob, gang: Gang, pod: Manifest, priority: Priority | None, evaluation: str | None
) -> Manifest:
    """The Workload of a gang.

    Args:
        job: whose gang it is, as it is about to queue.
        gang: what it consists of.
        pod: the first of its pods; in what Kueue looks at, the others are like it.
        priority: its class, None for none.
        evaluation: the wish that it is about, None for a training.
    """
    metadata = build_metadata(job, workload_name(job, gang.name), gang.component)
    if evaluation is not None:
        metadata["annotations"] = {EVALUATION_ANNOTATION: evaluation}
    spec: Manifest = {
        "queueName": str(job.spec.scheduling.queue),
        "podSets": [{"name": POD_SET, "count": gang.pods, "template": _template(pod)}],
    }
    if priority is not None:
        spec["priority"] = priority.value
        spec["priorityClassRef"] = {"group": priority.group, "kind": priority.kind, "name": priority.name}
    return {"apiVersion": KUEUE_VERSION, "kind": "Workload", "metadata": metadata, "spec": spec}


def _template(pod: Manifest) -> Manifest:
    """Of a pod, what Kueue looks at."""
    metadata, spec = pod["metadata"], pod["spec"]
    kept = {field: spec[field] for field in SPEC_FIELDS if field in spec}
    for field in ("containers", "initContainers"):
        if field in spec:
            kept[field] = [{key: item[key] for key in CONTAINER_FIELDS if key in item} for item in spec[field]]
    described = {field: metadata[field] for field in ("labels", "annotations") if field in metadata}
    return {"metadata": described, "spec": kept}


def with_placement(pod: Manifest, placement: Placement | None) -> Manifest:
    """A pod where Kueue's flavours want it."""
    if placement is None:
        return pod
    metadata, spec = dict(pod["metadata"]), dict(pod["spec"])
    for field, added in (("labels", placement.labels), ("annotations", placement.annotations)):
        if added:
            metadata[field] = {**metadata.get(field, {}), **added}
    if placement.node_selector:
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), **placement.node_selector}
    if added_tolerations := [item for item in placement.tolerations if item not in spec.get("tolerations", [])]:
        spec["tolerations"] = [*spec.get("tolerations", []), *added_tolerations]
    return {**pod, "metadata": metadata, "spec": spec}


def released(workload: WorkloadView, now: datetime) -> Manifest:
    """The status of a Workload whose pods are gone after it was evicted: it gives its quota back, and waits again."""
    evicted = workload.conditions["Evicted"]
    reason, message = evicted["reason"], workload.words("Evicted")
    changes = {
        "QuotaReserved": ("False", "Pending", message),
        "Admitted": ("False", "NoReservation", "The workload has no reservation"),
        "Requeued": ("True" if reason in COMES_BACK else "False", reason, message),
    }
    if "PodsReady" in workload.conditions:
        # Kueue counts from the next admission only where it reads this reason, else still from the loss of a pod.
        changes["PodsReady"] = ("False", "WaitForStart", "The pods were stopped")
    return {"admission": None, "conditions": _with_conditions(workload, changes, now)}


def with_readiness(workload: WorkloadView, now: datetime, *, is_complete: bool) -> Manifest:
    """The status of a Workload whose pods have become ready, or are not all ready any more.

    Where `waitForPodsReady` is on, Kueue evicts it after `timeout` without the first, and after `recoveryTimeout` from
    the second on; the reasons tell it which of them runs.
    """
    if is_complete:
        is_again = workload.conditions.get("PodsReady", {}).get("reason") == WAIT_FOR_RECOVERY
        told = ("True", "Recovered" if is_again else "Started", "All pods are ready")
    else:
        told = ("False", WAIT_FOR_RECOVERY, "Not all pods are ready any more")
    return {"conditions": _with_conditions(workload, {"PodsReady": told}, now)}


def finished(workload: WorkloadView, reason: str, message: str, now: datetime) -> Manifest:
    """The status of a Workload that needs its quota no more."""
    return {"conditions": _with_conditions(workload, {"Finished": ("True", reason, message)}, now)}


def _with_conditions(
    workload: WorkloadView, changes: Mapping[str, tuple[str, str, str]], now: datetime
) -> list[Manifest]:
    """All conditions, some of them changed: a merge replaces lists as a whole."""
    conditions: dict[str, Any] = dict(workload.conditions)
    for kind, (status, reason, message) in changes.items():
        before = conditions.get(kind, {})
        is_new = before.get("status") != status
        conditions[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": workload.generation,
            "lastTransitionTime": f"{now:%Y-%m-%dT%H:%M:%SZ}" if is_new else before["lastTransitionTime"],
        }
    return list(conditions.values())
