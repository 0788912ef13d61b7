"""Objects of Kueue: queues with quota for one small job of two cards, and the Workloads of a namespace."""

import re
from typing import Any

import httpx

from testbed.control_plane.api_answers import answer

VERSION = "kueue.x-k8s.io/v1beta2"
NPU = "huawei.com/Ascend910"
FLAVOUR_LABELS = {"accelerator": "huawei-Ascend910"}
FLAVOUR_TOLERATION = {"key": "npu", "operator": "Exists", "effect": "NoSchedule"}


def of_kueue(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An object without a namespace of its own."""
    return {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def cluster_queue(name: str, cards: int = 2) -> dict[str, Any]:
    """Quota for some cards, for all namespaces; higher priorities take it from lower ones."""
    quota = {"name": "npu", "resources": [{"name": NPU, "nominalQuota": cards}]}
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": [NPU], "flavors": [quota]}],
    }
    return of_kueue("ClusterQueue", name, spec)


FLAVOUR = of_kueue("ResourceFlavor", "npu", {"nodeLabels": FLAVOUR_LABELS, "tolerations": [FLAVOUR_TOLERATION]})
URGENT = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "urgent"},
    "value": 1000,
}


class Workloads:
    """What Kueue has of a namespace."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        self.api = api
        self.root = f"/apis/{VERSION}/namespaces/{namespace}"
        self.path = f"{self.root}/workloads"

    def add_queue(self, name: str, cluster_queue: str) -> None:
        """A way of the namespace to a quota."""
        queue = of_kueue("LocalQueue", name, {"clusterQueue": cluster_queue})
        answer(self.api.post(f"{self.root}/localqueues", json=queue))

    def all(self) -> dict[str, dict[str, Any]]:
        """Workloads by name, ours without what tells them from those before."""
        items = answer(self.api.get(self.path))["items"]
        return {re.sub("-[0-9a-f]{8}$", "", item["metadata"]["name"]): item for item in items}

    def holds(self, name: str, kind: str) -> bool:
        """Whether a condition of a Workload holds."""
        conditions = self.all()[name].get("status", {}).get("conditions", [])
        return any(item["type"] == kind and item["status"] == "True" for item in conditions)

    def add_urgent(self, name: str, queue: str, cards: int = 2) -> None:
        """Somebody else's, which needs all cards before all others."""
        container = {"name": "main", "image": "none", "resources": {"requests": {NPU: "1"}, "limits": {NPU: "1"}}}
        pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        spec = {
            "queueName": queue,
            "podSets": [{"name": "main", "count": cards, "template": pod}],
            "priority": URGENT["value"],
            "priorityClassRef": {"group": "scheduling.k8s.io", "kind": "PriorityClass", "name": "urgent"},
        }
        answer(self.api.post(self.path, json=of_kueue("Workload", name, spec)))

    def delete(self, name: str) -> None:
        """Take one away."""
        answer(self.api.delete(f"{self.path}/{name}"))
