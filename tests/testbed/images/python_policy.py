"""Python of this machine for all pods of an image, by the API server: manifests stay as they are written.

`host_python` of oci_images is a template for those who make the pods. Pods that are made of a page's or a chart's
manifests get the same volumes by a MutatingAdmissionPolicy (kubernetes.io, "Mutating Admission Policy"; v1 and on by
default as of 1.36): an ApplyConfiguration merges volumes and containers by name and mounts by path.
"""

import json
from typing import Any

from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import shell_pod
from testbed.images.oci_images import host_python

NAME = "python-of-the-node"
KINDS = ("containers", "initContainers")


def give_python(plane: ControlPlane, image: str) -> None:
    """Give it to every pod with a container of the image, once the API server has seen the policy (`has_python`)."""
    objects = [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": NAME},
            "spec": spec,
        }
        for kind, spec in (
            ("MutatingAdmissionPolicy", _policy(image)),
            ("MutatingAdmissionPolicyBinding", {"policyName": NAME}),
        )
    ]
    plane.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))


def has_python(plane: ControlPlane, image: str) -> bool:
    """Whether a pod of the image would get it; nothing is made."""
    pod = {"apiVersion": "v1", **shell_pod("asks", "true", container={"image": image})}
    options = ["--dry-run=server", "--output=jsonpath={.spec.volumes[*].hostPath.path}"]
    return "/usr" in plane.kubectl("create", "-f", "-", *options, stdin=json.dumps(pod)).split()


def _policy(image: str) -> dict[str, Any]:
    """The policy for an image."""
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "matchConstraints": {"resourceRules": [pods]},
        "matchConditions": [
            {"name": "image", "expression": f"object.spec.containers.exists(each, each.image == {json.dumps(image)})"}
        ],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": _changes()}}],
    }


def _changes() -> str:
    """CEL: the volumes, and their mounts in all containers."""
    spec = host_python("any")["spec"]
    volumes = ", ".join(_volume(each["name"], each["hostPath"]) for each in spec["volumes"])
    containers, init_containers = (_mounted(kind, spec["containers"][0]["volumeMounts"]) for kind in KINDS)
    return f"""Object{{spec: Object.spec{{
        volumes: [{volumes}],
        containers: {containers},
        initContainers: has(object.spec.initContainers) ? {init_containers} : []
    }}}}"""


def _volume(name: str, source: dict[str, str]) -> str:
    """CEL of one volume."""
    fields = f"path: {json.dumps(source['path'])}, type: {json.dumps(source['type'])}"
    return f"Object.spec.volumes{{name: {json.dumps(name)}, hostPath: Object.spec.volumes.hostPath{{{fields}}}}}"


def _mounted(kind: str, mounts: list[dict[str, Any]]) -> str:
    """CEL of the containers of a kind with these mounts."""
    typed = [
        f"Object.spec.{kind}.volumeMounts{{name: {json.dumps(each['name'])}, "
        f"mountPath: {json.dumps(each['mountPath'])}, readOnly: true}}"
        for each in mounts
    ]
    mounted = f"Object.spec.{kind}{{name: each.name, volumeMounts: [{', '.join(typed)}]}}"
    return f"object.spec.{kind}.map(each, {mounted})"
