"""What NetworkPolicies allow, as the API's documentation defines it; no network plugin is asked.

The semantics are those of networking.k8s.io/v1 (kubernetes.io, "Network Policies" and the API reference): a pod is
isolated in a direction once a policy of its namespace that selects it is of that type; then the rules of all such
policies add up. A connection needs the egress of its source and the ingress of its destination.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that the API server gives every namespace."""


@dataclass(frozen=True)
class Peer:
    """A pod in the cluster's network, or what is outside of it."""

    namespace: str = ""
    """Empty: no pod, such as the API server."""
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """Ports of its containers by name."""


def peer_of(pod: dict[str, Any], namespace: str) -> Peer:
    """A pod, or the template of one, as NetworkPolicies see it."""
    declared = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    ports = {port["name"]: port["containerPort"] for port in declared if "name" in port}
    return Peer(namespace, pod["metadata"]["labels"], ports)


def allows(policies: Sequence[Policy], source: Peer, destination: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection comes about."""
    wanted = (destination, port, protocol)
    return _passes(policies, "Egress", source, destination, wanted) and _passes(
        policies, "Ingress", destination, source, wanted
    )


def _passes(policies: Sequence[Policy], direction: str, pod: Peer, other: Peer, wanted: tuple[Peer, int, str]) -> bool:
    """Whether the policies of one end let a connection through."""
    isolating = [policy for policy in policies if direction in _types(policy["spec"]) and _selects(policy, pod)]
    key, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    rules = [(policy, rule) for policy in isolating for rule in policy["spec"].get(key) or []]
    return not isolating or any(
        _names(policy, rule.get(peers), other) and _opens(rule.get("ports"), *wanted) for policy, rule in rules
    )


def _types(spec: dict[str, Any]) -> list[str]:
    """Directions that a policy is about; left out they are Ingress, and Egress where there are such rules."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _selects(policy: Policy, pod: Peer) -> bool:
    """Whether a policy is about a pod."""
    own = policy["metadata"]["namespace"] == pod.namespace
    return own and _matches(policy["spec"].get("podSelector", {}), pod.labels)


def _names(policy: Policy, peers: list[dict[str, Any]] | None, other: Peer) -> bool:
    """Whether a rule is about the other end; one without peers is about everybody."""
    return not peers or any(_is(policy, peer, other) for peer in peers)


def _is(policy: Policy, peer: dict[str, Any], other: Peer) -> bool:
    """Whether a peer of a rule is the other end: its namespace's selector and its own must both match."""
    if "ipBlock" in peer:
        raise NotImplementedError("addresses are not compared")
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        is_there = _matches(peer["namespaceSelector"], {NAMESPACE_NAME: other.namespace})
    else:
        is_there = other.namespace == policy["metadata"]["namespace"]
    return is_there and _matches(peer.get("podSelector", {}), other.labels)


def _opens(ports: list[dict[str, Any]] | None, destination: Peer, port: int, protocol: str) -> bool:
    """Whether a rule is about a port; one without ports is about all of them, and a port without number likewise."""
    if not ports:
        return True
    for each in ports:
        first = each.get("port")
        first = destination.ports.get(first) if isinstance(first, str) else first
        last = each.get("endPort", first)
        is_about = "port" not in each or (first is not None and first <= port <= last)
        if each.get("protocol", "TCP") == protocol and is_about:
            return True
    return False


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether labels fit a selector; an empty one fits all."""
    wanted = (selector.get("matchLabels") or {}).items()
    expressions = selector.get("matchExpressions") or []
    return wanted <= labels.items() and all(_holds(expression, labels) for expression in expressions)


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    """One expression; what a pod does not have is not in any list."""
    value, among = labels.get(expression["key"]), expression.get("values") or []
    return {
        "In": value in among,
        "NotIn": value not in among,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
