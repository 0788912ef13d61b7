"""A model of the API server in plain values: what it holds of one job, and what everybody does to that."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from arcface_api.contract.pod_environment import COMPONENT_LABEL, RANK_INDEX_LABEL
from arcface_api.contract.reports import TrainerReport
from arcface_api.names import ASCEND_910
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.answers.sighting import Sighting
from arcface_operator.decision.observation import MAIN_CONTAINERS, Observation, view_pod
from arcface_operator.decision.plan import (
    Action,
    Annotate,
    Apply,
    Create,
    Delete,
    DeleteJob,
    Plan,
    WriteWorkloadStatus,
)
from arcface_operator.decision.stages import stage_of
from arcface_operator.manifests.metadata import Manifest, evaluator_name
from arcface_operator.manifests.workload import Placement, QueueView, view_workload
from support.builders.views import GRACE, LAST_REPORT, NOW, SETTINGS, make_prerequisites, stored, timestamp

PLACEMENT = Placement(node_selector={"pool": "npu"}, labels={}, annotations={})
"""What the flavour asks of pods that Kueue admits."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What the API server holds of one job, at one moment."""

    job: ArcFaceTrainingJob
    now: datetime = NOW
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    """By name."""
    applied: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    """Service, ConfigMaps and PodGroup by kind and name."""
    workloads: Mapping[str, Manifest] = field(default_factory=dict)
    """Of Kueue, by name; `support.fakes.kueue` plays what it does with them."""
    lost_nodes: frozenset[str] = frozenset()
    is_job_deleted: bool = False
    serial: int = 0
    """Uids given out."""

    @property
    def status(self) -> ArcFaceTrainingJobStatus:
        """Status of the job."""
        return self.job.status

    def observe(
        self, seen: "World | None" = None, report: TrainerReport | None = None, sighting: Sighting | None = None
    ) -> Observation:
        """What the operator sees: the job as it is, its children perhaps as they were in an earlier world."""
        seen = seen or self
        return Observation(
            job=self.job,
            pods=tuple(view_pod(pod) for pod in seen.pods.values()),
            prerequisites=make_prerequisites(),
            queue=self.queue(),
            report=report,
            sighting=sighting,
            groups=self.groups() if self.status.phase == "Queued" else None,
            lost_nodes=self.lost_nodes,
        )

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups of the gang's scheduler."""
        return {name: () for kind, name in self.applied if kind == "PodGroup"}

    def without(self, kind: str, name: str) -> "World":
        """Somebody deletes an object."""
        return replace(self, applied={key: item for key, item in self.applied.items() if key != (kind, name)})

    def queue(self) -> QueueView | None:
        """What Kueue says of a job that goes through it."""
        if self.job.spec.scheduling.gang != "kueue":
            return None
        views = {view.component: view for view in map(view_workload, self.workloads.values())}
        own = views.get(stage_of(self.status).component)
        return QueueView(workloads=views, placement=PLACEMENT if own is not None and own.may_run else None)

    # What the API server does on the operator's behalf.

    def written(self, status: ArcFaceTrainingJobStatus) -> "World":
        """The job with another status."""
        return replace(self, job=self.job.model_copy(update={"status": stored(status)}))

    def carried_out(self, plan: Plan, actions: Iterable[Action] | None = None) -> "World":
        """The plan's status and all its actions, or only some of them."""
        world = self.written(plan.status)
        for action in plan.actions if actions is None else actions:
            world = world.after(action)
        return world

    def after(self, action: Action) -> "World":
        """One action; one on an object that is gone, or is another by now, does nothing."""
        match action:
            case Apply(manifest):
                key = (manifest["kind"], manifest["metadata"]["name"])
                return replace(self, applied={**self.applied, key: manifest})
            case Create(manifest):
                return self.created(manifest)
            case Delete(resource="pods") if self.has_pod(action):
                return self.pod_deleted(action.name, action.grace_seconds)
            case Annotate() if self.has_pod(action):
                known = self.pods[action.name]["metadata"].get("annotations", {})
                return self.with_metadata(action.name, annotations={**known, **action.annotations})
            case Delete(resource="workloads"):
                kept = {name: item for name, item in self.workloads.items() if item["metadata"]["uid"] != action.uid}
                return replace(self, workloads=kept)
            case WriteWorkloadStatus():
                return self.with_workload(action.name, action.status, action.version)
            case DeleteJob():
                return replace(self, is_job_deleted=True, pods={}, applied={}, workloads={})
        return self  # an event

    def has_pod(self, action: Delete | Annotate) -> bool:
        """Whether the pod that an action is about is there."""
        pod = self.pods.get(action.name)
        return pod is not None and pod["metadata"]["uid"] == action.uid

    def created(self, manifest: Manifest) -> "World":
        """The object under a uid of its own; a name that is taken stays with the object that has it."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        identity = {"uid": f"{kind}-{self.serial}", "creationTimestamp": timestamp(self.now)}
        identity["resourceVersion"] = str(self.serial)
        made = {**manifest, "metadata": {**manifest["metadata"], **identity}}
        if kind == "Pod" and name not in self.pods:
            pods = {**self.pods, name: {**made, "status": {"phase": "Pending"}}}
            return replace(self, pods=pods, serial=self.serial + 1)
        if kind == "Workload" and name not in self.workloads:
            workloads = {**self.workloads, name: {**made, "status": {}}}
            return replace(self, workloads=workloads, serial=self.serial + 1)
        return self

    def with_workload(self, name: str, status: Manifest, version: str | None = None) -> "World":
        """A merge into a Workload's status, unless it is gone or is of another version than the one that was seen."""
        found = self.workloads.get(name)
        if found is None or version not in {None, found["metadata"]["resourceVersion"]}:
            return self
        metadata = {**found["metadata"], "resourceVersion": str(self.serial + 1)}
        changed = {**found, "metadata": metadata, "status": {**found["status"], **status}}
        return replace(self, workloads={**self.workloads, name: changed}, serial=self.serial + 1)

    def pod_deleted(self, name: str, grace_seconds: int | None = None) -> "World":
        """The pod leaves: at once where no kubelet has it, else when its kubelet says so; asked again, only earlier."""
        metadata = self.pods[name]["metadata"]
        if grace_seconds == 0 or "nodeName" not in self.pods[name]["spec"]:
            return self.pod_gone(name)
        known = metadata.get("deletionGracePeriodSeconds")
        grace = int(GRACE.total_seconds()) if grace_seconds is None else grace_seconds
        if known is not None and grace >= known:
            return self
        asked = (
            self.now
            if known is None
            else datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(seconds=known)
        )
        leaves_at = timestamp(asked + timedelta(seconds=grace))
        return self.with_metadata(name, deletionTimestamp=leaves_at, deletionGracePeriodSeconds=grace)

    def with_metadata(self, name: str, **fields: Any) -> "World":
        """A pod with other metadata."""
        pod = self.pods[name]
        return replace(self, pods={**self.pods, name: {**pod, "metadata": {**pod["metadata"], **fields}}})

    # What everybody else does.

    def later(self, seconds: float) -> "World":
        """Time passes."""
        return replace(self, now=self.now + timedelta(seconds=seconds))

    def with_spec(self, **changes: Any) -> "World":
        """The user changes the spec."""
        spec = self.job.spec.model_copy(update=changes)
        return replace(self, job=self.job.model_copy(update={"spec": spec}))

    def pod_gone(self, name: str) -> "World":
        """Nothing is left of a pod."""
        return replace(self, pods={key: pod for key, pod in self.pods.items() if key != name})

    def swept(self) -> "World":
        """All that leaves has left, but for pods on lost nodes."""
        world = self
        for name, pod in self.pods.items():
            if "deletionTimestamp" in pod["metadata"] and pod["spec"].get("nodeName") not in self.lost_nodes:
                world = world.pod_gone(name)
        return world

    def with_pod_status(self, name: str, **status: Any) -> "World":
        """A kubelet says how a pod is."""
        pod = self.pods[name]
        return replace(self, pods={**self.pods, name: {**pod, "status": {**pod["status"], **status}}})

    def started(self, name: str, node: str = "") -> "World":
        """A pod runs on a node of its own, unless one is named, and a rank pod's devices are known."""
        pod = self.pods[name]
        labels = pod["metadata"]["labels"]
        index, is_worker = int(labels[RANK_INDEX_LABEL]), labels[COMPONENT_LABEL] == "worker"
        world = self.placed(name, node or f"node-{index}")
        devices = self.devices_of(index) if is_worker else {}
        world = world.with_metadata(name, annotations={**pod["metadata"].get("annotations", {}), **devices})
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.now)}
        addresses = {"podIP": f"10.244.{self.serial}.{index + 1}", "hostIP": f"192.168.0.{index + 1}"}
        conditions = [*world.pods[name]["status"]["conditions"], ready]
        return world.with_pod_status(name, phase="Running", conditions=conditions, **addresses)

    def placed(self, name: str, node: str) -> "World":
        """A scheduler gives a pod its node."""
        pod = self.pods[name]
        world = replace(self, pods={**self.pods, name: {**pod, "spec": {**pod["spec"], "nodeName": node}}})
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(self.now)}
        return world.with_pod_status(name, conditions=[scheduled])

    def unschedulable(self, name: str) -> "World":
        """A scheduler finds no room for a pod, and says so."""
        why = {"reason": "Unschedulable", "message": "0/3 nodes are available"}
        condition = {"type": "PodScheduled", "status": "False", "lastTransitionTime": timestamp(self.now), **why}
        return self.with_pod_status(name, conditions=[condition])

    def devices_of(self, index: int) -> dict[str, str]:
        """What the device plugin writes on a rank pod."""
        if self.job.spec.workers.accelerator == "cpu":
            return {}
        per_pod = self.job.spec.workers.devices_per_worker
        devices = [{"device_id": str(n), "device_ip": f"192.168.10{n}.{index + 1}"} for n in range(per_pod)]
        configuration = {"pod_name": "", "server_id": f"192.168.0.{index + 1}", "devices": devices}
        return {SETTINGS.device_annotation: json.dumps(configuration), ASCEND_910: "Ascend910-0"}

    def exited(self, name: str, code: int, message: str | None = None) -> "World":
        """The main container of a pod ends, with the last step in its report where it ends well."""
        message = (LAST_REPORT if code == 0 else "") if message is None else message
        reason = "Completed" if code == 0 else "Error"
        terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": timestamp(self.now)}
        container = MAIN_CONTAINERS[self.pods[name]["metadata"]["labels"][COMPONENT_LABEL]]
        statuses = [{"name": container, "state": {"terminated": terminated}}]
        phase = "Succeeded" if code == 0 else "Failed"
        return self.with_pod_status(name, phase=phase, conditions=[], containerStatuses=statuses)

    def evicted(self, name: str) -> "World":
        """A kubelet evicts a pod before anything of it has run."""
        return self.with_pod_status(name, phase="Failed", reason="Evicted", message="low on memory", conditions=[])

    def evaluated(self, code: int, message: str) -> "World":
        """The evaluator runs and ends, where there is one that still can."""
        name = evaluator_name(self.job.metadata.name)
        pod = self.pods.get(name)
        if pod is None or "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] in {"Succeeded", "Failed"}:
            return self
        return self.placed(name, "node-0").exited(name, code, message)


def unready(world: World, name: str) -> World:
    """A sidecar of a pod is not ready, or has ended, or the pod is called so for a moment."""
    found = world.pods[name]["status"]["conditions"]
    conditions = [{**item, "status": "False"} if item["type"] == "Ready" else item for item in found]
    return world.with_pod_status(name, conditions=conditions)
