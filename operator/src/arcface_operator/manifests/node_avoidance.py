"""Pods that go to other nodes than some, if they can.

A preference and no demand: a job that needs every node of its cluster would wait until the time is over, and a gang
scheduler would take what it is denied for want of room.
"""

from collections.abc import Iterable

from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.pod_template import merged

STRONGEST = 100
"""The largest weight of a preference."""


def avoiding(pod: Manifest, nodes: Iterable[str]) -> Manifest:
    """The pod with a preference for all other nodes beside those that it has.

    Nodes are told by their names: a label such as kubernetes.io/hostname may have another value.
    """
    others = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in nodes]
    if not others:
        return pod
    preference = {"weight": STRONGEST, "preference": {"matchFields": others}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    return merged(pod, {"spec": {"affinity": affinity}}, "template")
