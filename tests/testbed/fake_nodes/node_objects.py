"""The objects of a fake node: values in, manifests out."""

from datetime import UTC, datetime
from typing import Any

from arcface_api.names import ASCEND_910
from testbed.fake_nodes.fake_pod import FakeNode
from testbed.fake_nodes.pod_status import now
from testbed.fake_nodes.scripts import Manifest

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
LEASE_SECONDS = 60
PODS_EACH = 512


def path(node: FakeNode) -> str:
    """The node's path at the API server."""
    return f"{NODES}/{node.name}"


def lease_path(node: FakeNode) -> str:
    """The path of its Lease."""
    return f"{LEASES}/{node.name}"


def build_node(node: FakeNode) -> Manifest:
    """A machine of eight Ascend 910 cards on arm, or of however many it has."""
    amounts = {"cpu": "96", "memory": "768Gi", "ephemeral-storage": "1Ti", "pods": str(PODS_EACH)}
    capacity = amounts | ({ASCEND_910: str(node.devices)} if node.devices else {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "arm64",
                "accelerator": "huawei-Ascend910",
                "accelerator-type": "module",
                "host-arch": "huawei-arm",
            },
        },
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": conditions(is_reachable=True),
            "nodeInfo": node_info(),
        },
    }


def node_info() -> dict[str, str]:
    """What a kubelet tells of its machine; most of it may be empty."""
    empty = dict.fromkeys(("machineID", "systemUUID", "bootID", "kernelVersion", "kubeProxyVersion"), "")
    said = {"osImage": "fake", "containerRuntimeVersion": "fake://1", "kubeletVersion": "v1.36.0"}
    return empty | said | {"operatingSystem": "linux", "architecture": "arm64"}


def conditions(*, is_reachable: bool) -> list[dict[str, Any]]:
    """The Ready condition, as the kubelet writes it or as the node controller does for a silent one."""
    if is_reachable:
        said = {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    else:
        said = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    return [{"type": "Ready", **said, "lastHeartbeatTime": now(), "lastTransitionTime": now()}]


def build_lease(node: FakeNode, owner: str) -> Manifest:
    """The Lease of a node with this uid."""
    reference = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": owner}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node.name, "ownerReferences": [reference]},
        "spec": {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_SECONDS, **renewal()["spec"]},
    }


def renewal() -> Manifest:
    """A patch of a Lease: the node is alive now."""
    return {"spec": {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}
