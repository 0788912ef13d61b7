"""Volcano and the coscheduling plugin on a real API server, as far as pods and their owners see them.

They are played by the test: groups move through their phases, pods are Unschedulable for as long as it likes, all of
them get nodes at once, and are deleted for others' sake. Volcano's webhook (validatepod.volcano.sh, volcano#621,
volcano#1778), which refuses pods while their group is Pending, is an admission policy here.
"""

from typing import Any

import httpx

from testbed.control_plane.api_answers import answer
from testbed.control_plane.api_client import STRATEGIC
from testbed.control_plane.pods import MERGE

VOLCANO = "scheduling.volcano.sh/v1beta1"
NO_ROOM = "0/8 nodes are unavailable: 8 Insufficient huawei.com/Ascend910."
REFUSAL = "failed to create pod as the podgroup phase is Pending"


class GangScheduler:
    """A scheduler that the test plays, for the pods of one group."""

    def __init__(self, api: httpx.Client, namespace: str, version: str, group: str) -> None:
        self.api = api
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.group = f"/apis/{version}/namespaces/{namespace}/podgroups/{group}"

    def move_to(self, phase: str) -> None:
        """The group is in another phase."""
        answer(self.api.patch(f"{self.group}/status", json={"status": {"phase": phase}}, headers=MERGE))

    def find_no_room(self, names: list[str]) -> None:
        """Say of pods that there is no room for them."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}
        for name in names:
            status = {"status": {"conditions": [condition]}}
            headers = {"content-type": STRATEGIC}
            answer(self.api.patch(f"{self.pods}/{name}/status", json=status, headers=headers))

    def place(self, names: list[str], nodes: list[str]) -> None:
        """Give all pods their nodes."""
        for name, node in zip(names, nodes, strict=True):
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            answer(self.api.post(f"{self.pods}/{name}/binding", json=binding))

    def preempt(self, names: list[str]) -> None:
        """Delete pods whose room others get."""
        for name in names:
            answer(self.api.delete(f"{self.pods}/{name}"))


def volcano_webhook(group: str) -> list[dict[str, Any]]:
    """Refuses the pods of a group that is Pending, or has no phase yet."""
    api_version, name = "admissionregistration.k8s.io/v1", {"name": "validatepod.volcano.sh"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    is_volcanos = "has(object.spec.schedulerName) && object.spec.schedulerName == 'volcano'"
    is_queued = "has(params.status) && has(params.status.phase) && params.status.phase != 'Pending'"
    policy = {
        "failurePolicy": "Fail",
        "paramKind": {"apiVersion": VOLCANO, "kind": "PodGroup"},
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "volcano", "expression": is_volcanos}],
        "validations": [{"expression": is_queued, "message": REFUSAL, "reason": "Forbidden"}],
    }
    binding = {
        "policyName": name["name"],
        "paramRef": {"name": group, "parameterNotFoundAction": "Deny"},
        "validationActions": ["Deny"],
    }
    return [
        {"apiVersion": api_version, "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": policy},
        {"apiVersion": api_version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": name, "spec": binding},
    ]
