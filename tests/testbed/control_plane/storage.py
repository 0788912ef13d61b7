"""Claims on folders of this machine, as a cluster with network storage would have them."""

from pathlib import Path
from typing import Any, Literal

import httpx

from support.waiting import wait_until
from testbed.control_plane.api_answers import answer

Volume = Literal["local", "hostPath"]
"""`local`: the kubelet gives the folder to the pod's fsGroup, as on network storage; this changes owner and mode of
everything in it. `hostPath`: the folder stays as it is, so user 1000 must be able to use it already."""
SIZE = "1Ti"
ACCESS = "ReadWriteMany"


def bind_claim(
    api: httpx.Client, node: str, namespace: str, name: str, folder: Path, volume: Volume = "hostPath"
) -> None:
    """Make a volume of the folder and a claim on it, and wait until they are bound."""
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    answer(api.post("/api/v1/persistentvolumes", json=build_volume(node, namespace, name, folder, volume)))
    answer(api.post(claims, json=build_claim(namespace, name)))
    wait_until(lambda: answer(api.get(f"{claims}/{name}"))["status"].get("phase") == "Bound")


def volume_name(namespace: str, claim: str) -> str:
    """Name of a claim's volume."""
    return f"{namespace}-{claim}"


def build_volume(node: str, namespace: str, claim: str, folder: Path, volume: Volume) -> dict[str, Any]:
    """PersistentVolume that only the given claim may bind; the folder stays when it is deleted."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(namespace, claim)},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": [ACCESS],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            volume: {"path": str(folder.resolve())},
        },
    }


def build_claim(namespace: str, name: str) -> dict[str, Any]:
    """PersistentVolumeClaim for its own volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": [ACCESS],
            "storageClassName": "",
            "resources": {"requests": {"storage": SIZE}},
            "volumeName": volume_name(namespace, name),
        },
    }
