"""Pods of this machine as a kubelet reports them to the API server; pure."""

from datetime import datetime
from typing import Any

from arcface_api.contract.pod_environment import LOOPBACK
from arcface_operator.manifests.metadata import Manifest

NODE = "this-machine"


def terminated(code: int, message: bytes, at: datetime) -> Manifest:
    """How a container ended."""
    reason, text = "Completed" if code == 0 else "Error", message.decode(errors="replace")
    return {"exitCode": code, "reason": reason, "message": text, "finishedAt": at.isoformat()}


def reported(pod: Manifest, address: str, leaving: tuple[datetime, float] | None, end: Manifest | None) -> Manifest:
    """A pod with the status of its first container, the only one that is run here.

    Args:
        pod: as it was created.
        address: its own.
        leaving: while it is being deleted, the end of its grace period and its length in seconds.
        end: how the container ended, None while it runs.
    """
    deletion: Manifest = {}
    if leaving is not None:
        deletion = {"deletionTimestamp": leaving[0].isoformat(), "deletionGracePeriodSeconds": int(leaving[1])}
    status: dict[str, Any] = {
        "podIP": address,
        "hostIP": LOOPBACK,
        "phase": _phase(end),
        "conditions": [_scheduled(pod)],
    }
    if end is None:
        status["conditions"].append({"type": "Ready", "status": "True"})
    else:
        name = pod["spec"]["containers"][0]["name"]
        status["containerStatuses"] = [{"name": name, "state": {"terminated": end}}]
    metadata = {**pod["metadata"], **deletion}
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "nodeName": NODE}, "status": status}


def _phase(end: Manifest | None) -> str:
    """Phase of a pod."""
    if end is None:
        return "Running"
    return "Succeeded" if end["exitCode"] == 0 else "Failed"


def _scheduled(pod: Manifest) -> Manifest:
    """There is always room here, from the beginning."""
    return {"type": "PodScheduled", "status": "True", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
