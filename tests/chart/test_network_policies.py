"""The chart's NetworkPolicies among policies that deny everything: a job trains, and strangers stay outside."""

from typing import Any

import pytest
import yaml

from arcface_operator.manifests import evaluator_pod, worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.network_policies import Peer, allows, peer_of
from testbed.programs.helm import rendered

JOB = make_job(workers={"replicas": 2, "devicesPerWorker": 64}, evaluation={"claimName": "sets"})
OUTSIDE = Peer()
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = Peer("monitoring", {"app.kubernetes.io/name": "prometheus"})
STRANGER = Peer("faces", {"app": "notebook"})
TENANT = Peer("others", worker_pod.build_worker_pod(JOB, 0, 1, Settings())["metadata"]["labels"])
RANK = peer_of(worker_pod.build_worker_pod(JOB, 0, 1, Settings()), "faces")
PEER_RANK = peer_of(worker_pod.build_worker_pod(JOB, 1, 1, Settings()), "faces")
EVALUATOR = peer_of(evaluator_pod.build_evaluator_pod(JOB, 1, Settings()), "faces")
ALL_DENIED = [
    {
        "metadata": {"name": "default-deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
    for namespace in ("faces", "arcface-system")
]
STRANGER_IS_OPEN = {
    "metadata": {"name": "notebook", "namespace": "faces"},
    "spec": {
        "podSelector": {"matchLabels": STRANGER.labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{}],
        "egress": [{}],
    },
}
"""Whoever else is in the namespace may ask and be asked by all: what keeps him away is the other end's policy."""


class Cluster:
    """What the chart renders, among policies that deny everything."""

    def __init__(self) -> None:
        chosen = ("networkPolicy.enabled=true", "networkPolicy.jobNamespaces={faces,voices}")
        documents = [each for each in yaml.safe_load_all(rendered(*chosen)) if each]
        rendered_ones = [each for each in documents if each["kind"] == "NetworkPolicy"]
        self.policies = [*ALL_DENIED, STRANGER_IS_OPEN, *rendered_ones]
        (deployment,) = (each for each in documents if each["kind"] == "Deployment")
        self.operator = peer_of(deployment["spec"]["template"], "arcface-system")
        (test,) = (each for each in documents if each["kind"] == "Pod")
        self.test = peer_of(test, "arcface-system")

    def allows(self, source: Peer | None, destination: Peer | None, port: int) -> bool:
        """Whether a connection comes about; None is the operator."""
        return allows(self.policies, source or self.operator, destination or self.operator, port)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


NEEDED = {
    "the operator asks the API server": (None, OUTSIDE, 6443),
    "a plugin that sees the Service's port lets it": (None, OUTSIDE, 443),
    "the operator asks rank 0 for its progress": (None, RANK, 9400),
    "the operator hears the launchers of a job": (None, RANK, 9399),
    "the operator asks the evaluator for its progress": (None, EVALUATOR, 9400),
    "Prometheus asks the operator": (PROMETHEUS, None, 8080),
    "Prometheus asks a pod's first rank": (PROMETHEUS, RANK, 9400),
    "Prometheus asks a pod's 64th rank": (PROMETHEUS, RANK, 9463),
    "a pod's launcher tells pod 0's": (PEER_RANK, RANK, 9399),
    "a rank joins MindSpore's scheduler": (PEER_RANK, RANK, 8118),
    "MindSpore's ranks connect to each other": (RANK, PEER_RANK, 43210),
    "launchers give each other states": (RANK, PEER_RANK, 9399),
    "HCCL's host side connects": (RANK, PEER_RANK, 60015),
}
DENIED = {
    "another program of the namespace reads metrics": (STRANGER, RANK, 9400),
    "another program of the namespace asks a launcher for weights": (STRANGER, RANK, 9399),
    "a rank of another namespace asks a launcher for weights": (TENANT, RANK, 9399),
    "the evaluator asks a launcher for weights": (EVALUATOR, RANK, 9399),
    "another program of the namespace joins the ranks": (STRANGER, RANK, 8118),
    "a rank of another namespace joins the ranks": (TENANT, RANK, 8118),
    "Prometheus reaches what is no metric": (PROMETHEUS, RANK, 8118),
    "Prometheus reaches beyond the ports of 64 ranks": (PROMETHEUS, RANK, 9464),
    "the operator reaches what it does not need": (None, RANK, 8118),
    "a rank leaves the cluster": (RANK, OUTSIDE, 443),
    "a rank reaches another program": (RANK, STRANGER, 8080),
    "the evaluator leaves the cluster": (EVALUATOR, OUTSIDE, 443),
    "Prometheus of another namespace reads metrics": (Peer("others", PROMETHEUS.labels), RANK, 9400),
    "another program has the ranks of a job started anew": (STRANGER, RANK, 9399),
    "the evaluator is asked what only ranks are": (RANK, EVALUATOR, 9400),
}


@pytest.mark.parametrize(("source", "destination", "port"), NEEDED.values(), ids=NEEDED)
def test_what_a_job_needs_is_let_through(
    cluster: Cluster, source: Peer | None, destination: Peer | None, port: int
) -> None:
    assert cluster.allows(source, destination, port)
    assert not allows(ALL_DENIED, source or cluster.operator, destination or cluster.operator, port)


@pytest.mark.parametrize(("source", "destination", "port"), DENIED.values(), ids=DENIED)
def test_what_no_job_needs_is_not(cluster: Cluster, source: Peer | None, destination: Peer | None, port: int) -> None:
    assert not cluster.allows(source, destination, port)


@pytest.mark.parametrize("source", [None, RANK, EVALUATOR], ids=["operator", "rank", "evaluator"])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_no_name_is_asked_for(cluster: Cluster, source: Peer | None, protocol: str) -> None:
    """All go by addresses; the real node of `tests/cluster/real_node`, where all of it works, has no DNS at all."""
    assert not allows(cluster.policies, source or cluster.operator, DNS, 53, protocol)


def test_the_pod_of_helm_test_asks_the_api_server_as_the_operator_does(cluster: Cluster) -> None:
    assert allows(cluster.policies, cluster.test, OUTSIDE, 6443)
    assert not allows(cluster.policies, STRANGER, cluster.test, 9400)


def test_namespaces_of_the_operator_are_those_of_its_jobs_unless_others_are_named() -> None:
    def namespaces(*values: str) -> set[str]:
        documents = [each for each in yaml.safe_load_all(rendered("networkPolicy.enabled=true", *values)) if each]
        return {each["metadata"]["namespace"] for each in documents if each["kind"] == "NetworkPolicy"}

    assert namespaces() == {"arcface-system"}
    assert namespaces("namespaces={a,b}") == {"arcface-system", "a", "b"}
    assert namespaces("namespaces={a,b}", "networkPolicy.jobNamespaces={a}") == {"arcface-system", "a"}


def policy(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"metadata": {"namespace": "faces"}, "spec": {"podSelector": {}, **spec}}]


HERE, THERE = Peer("faces", {"role": "db"}, {"sql": 6379}), Peer("others", {"role": "client"})
SEMANTICS = {
    "without policies all is allowed": ([], THERE, True),
    "a policy of no types is about ingress": (policy({}), THERE, False),
    "its ingress leaves egress alone": (policy({"ingress": [{}]}), THERE, True),
    "a policy of another namespace says nothing": (
        [{"metadata": {"namespace": "others"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}],
        THERE,
        True,
    ),
    "a pod that is not selected is not isolated": (
        policy({"podSelector": {"matchLabels": {"role": "web"}}}),
        THERE,
        True,
    ),
    "an empty namespace selector is all namespaces": (
        policy({"ingress": [{"from": [{"namespaceSelector": {}}]}]}),
        THERE,
        True,
    ),
    "a pod selector alone is about the policy's own namespace": (
        policy({"ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}]}]}),
        THERE,
        False,
    ),
    "both selectors of a peer must match": (
        policy({"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "db"}}}]}]}),
        THERE,
        False,
    ),
    "one of two peers is enough": (
        policy({"ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": {}}]}]}),
        THERE,
        True,
    ),
    "a range of ports includes its end": (
        policy({"ingress": [{"ports": [{"port": 6000, "endPort": 6379}]}]}),
        THERE,
        True,
    ),
    "a port is one port": (policy({"ingress": [{"ports": [{"port": 6378}]}]}), THERE, False),
    "a named port is the destination's": (policy({"ingress": [{"ports": [{"port": "sql"}]}]}), THERE, True),
    "a protocol left out is TCP": (policy({"ingress": [{"ports": [{"protocol": "UDP"}]}]}), THERE, False),
    "rules of several policies add up": ([*policy({}), *policy({"ingress": [{}]})], THERE, True),
    "a selector of namespaces is no selector of what is no pod": (
        policy({"ingress": [{"from": [{"namespaceSelector": {}}]}]}),
        OUTSIDE,
        False,
    ),
}


@pytest.mark.parametrize(("policies", "source", "expected"), SEMANTICS.values(), ids=SEMANTICS)
def test_policies_are_read_as_their_documentation_says(policies: Any, source: Peer, expected: bool) -> None:
    assert allows(policies, source, HERE, 6379) is expected


def test_egress_rules_isolate_where_no_types_are_given() -> None:
    policies = policy({"egress": [{"to": [{"podSelector": {}}]}], "ingress": [{}]})
    assert allows(policies, HERE, Peer("faces"), 80)
    assert not allows(policies, HERE, THERE, 80)
