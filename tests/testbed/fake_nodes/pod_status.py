"""The status that a kubelet writes on a pod: values in, a patch out."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from testbed.fake_nodes.scripts import KILLED, Ending, Eviction, Manifest, Refusal, as_text

Status = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What is kept of a pod's manifest."""

    uid: str
    namespace: str
    name: str
    containers: tuple[tuple[str, str], ...]
    """Name and image of each container."""
    devices: int
    """Devices that it asks for."""
    grace_seconds: int

    @property
    def path(self) -> str:
        """The pod's path at the API server."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


def facts_of(pod: Manifest, resource: str) -> PodFacts:
    """The facts of a pod as the API server returns it."""
    containers = pod["spec"]["containers"]
    limits = [container.get("resources", {}).get("limits", {}) for container in containers]
    return PodFacts(
        uid=pod["metadata"]["uid"],
        namespace=pod["metadata"]["namespace"],
        name=pod["metadata"]["name"],
        containers=tuple((container["name"], container["image"]) for container in containers),
        devices=sum(int(limit.get(resource, 0)) for limit in limits),
        grace_seconds=pod["spec"].get("terminationGracePeriodSeconds", 30),
    )


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def patch_of(facts: PodFacts, status: Status) -> Manifest:
    """A patch of the status of this very pod, not of another one with its name."""
    return {"metadata": {"uid": facts.uid}, "status": status}


def waiting(facts: PodFacts, reason: str, host_address: str) -> Status:
    """Bound to a node, its containers not running."""
    state = {"waiting": {"reason": reason, "message": explanation(facts, reason)}}
    return {
        "phase": "Pending",
        "hostIP": host_address,
        "startTime": now(),
        "conditions": readiness(is_ready=False, reason="ContainersNotReady"),
        "containerStatuses": container_statuses(facts, state),
    }


def explanation(facts: PodFacts, reason: str) -> str:
    """What the kubelet says about a container that waits."""
    if reason in {"ImagePullBackOff", "ErrImagePull"}:
        return f'Back-off pulling image "{facts.containers[0][1]}"'
    return ""


def running(facts: PodFacts, address: str, host_address: str, *, is_ready: bool) -> Status:
    """All containers running."""
    time = now()
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": host_address,
        "startTime": time,
        "conditions": readiness(is_ready=is_ready, reason="ContainersNotReady"),
        "containerStatuses": container_statuses(facts, {"running": {"startedAt": time}}, is_ready=is_ready),
    }


def ended(facts: PodFacts, ending: Ending, started_at: str | None) -> Status:
    """All containers ended in the same way."""
    is_well = ending.exit_code == 0
    return {
        "phase": "Succeeded" if is_well else "Failed",
        "conditions": readiness(is_ready=False, reason="PodCompleted" if is_well else "PodFailed"),
        "containerStatuses": container_statuses(facts, terminated(ending, started_at)),
    }


def evicted(facts: PodFacts, eviction: Eviction, started_at: str | None) -> Status:
    """Thrown out by the kubelet; containers that ran were killed."""
    disruption = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": eviction.message,
        "lastTransitionTime": now(),
    }
    status: Status = {
        "phase": "Failed",
        "reason": "Evicted",
        "message": eviction.message,
        "conditions": [*readiness(is_ready=False, reason="PodFailed"), disruption],
    }
    if started_at is not None:
        status["containerStatuses"] = container_statuses(facts, terminated(KILLED, started_at))
    return status


def refused(refusal: Refusal) -> Status:
    """Not admitted by the kubelet, which tells of no container then (`rejectPod` of the kubelet)."""
    return {"phase": "Failed", "reason": refusal.reason, "message": f"Pod was rejected: {refusal.message}"}


def terminated(ending: Ending, started_at: str | None) -> Status:
    """State of a container that has ended."""
    finished_at = now()
    state = {
        "exitCode": ending.exit_code,
        "reason": ending.reason or ("Completed" if ending.exit_code == 0 else "Error"),
        "message": as_text(ending.message),
        "startedAt": started_at or finished_at,
        "finishedAt": finished_at,
    }
    return {"terminated": state}


def readiness(*, is_ready: bool, reason: str | None) -> list[Status]:
    """The conditions that the kubelet owns; a strategic merge leaves those of others alone."""
    status = {"status": "True", "reason": None} if is_ready else {"status": "False", "reason": reason}
    time = now()
    return [
        {"type": "Initialized", "status": "True", "lastTransitionTime": time},
        *({"type": kind, **status, "lastTransitionTime": time} for kind in ("Ready", "ContainersReady")),
    ]


def container_statuses(facts: PodFacts, state: Status, *, is_ready: bool = False) -> list[Status]:
    """The same state for all containers."""
    return [
        {
            "name": name,
            "image": image,
            "imageID": "",
            "ready": is_ready,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for name, image in facts.containers
    ]
