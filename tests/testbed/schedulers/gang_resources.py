"""What gang schedulers add to a cluster, without the schedulers: their PodGroup resources.

Schemas follow the published types: volcano.sh/apis v1.13.0 (scheduling/v1beta1), sigs.k8s.io/scheduler-plugins v0.34.7
(scheduling/v1alpha1).
"""

from typing import Any

NUMBER = {"type": "integer", "format": "int32"}
TEXT = {"type": "string"}
AMOUNTS = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
VOLCANO_SPEC = {
    "minMember": NUMBER,
    "minTaskMember": {"type": "object", "additionalProperties": NUMBER},
    "queue": {**TEXT, "default": "default"},
    "priorityClassName": TEXT,
    "minResources": AMOUNTS,
    "networkTopology": {
        "type": "object",
        "properties": {
            "mode": {**TEXT, "enum": ["hard", "soft"], "default": "hard"},
            "highestTierAllowed": {"type": "integer", "default": 1},
        },
    },
}
COSCHEDULING_SPEC = {
    "minMember": {**NUMBER, "minimum": 1},
    "minResources": AMOUNTS,
    "scheduleTimeoutSeconds": NUMBER,
}


def pod_group_definitions() -> list[dict[str, Any]]:
    """CustomResourceDefinitions of both PodGroups."""
    return [
        definition("scheduling.volcano.sh", "v1beta1", VOLCANO_SPEC),
        definition("scheduling.x-k8s.io", "v1alpha1", COSCHEDULING_SPEC),
    ]


def definition(group: str, version: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A definition of a PodGroup."""
    metadata: dict[str, Any] = {"name": f"podgroups.{group}"}
    if group.endswith("k8s.io"):
        # Groups of this domain are protected; the value is the one of the published definition.
        approval = "https://github.com/kubernetes-sigs/scheduler-plugins/pull/50"
        metadata["annotations"] = {"api-approved.kubernetes.io": approval}
    status = {"type": "object", "properties": {"phase": TEXT}}
    fields = {"spec": {"type": "object", "properties": spec}, "status": status}
    schema = {"openAPIV3Schema": {"type": "object", "properties": fields}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "PodGroup", "plural": "podgroups", "singular": "podgroup"},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
            ],
        },
    }
