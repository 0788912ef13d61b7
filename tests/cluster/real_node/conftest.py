"""A real node for the tests of this folder, an operator for those that want one, and a namespace for each of them."""

import os
import re
from collections.abc import Iterator

import pytest

from support.processes.operator_process import (
    ACCOUNT,
    DEFAULTS,
    NAMESPACE,
    OperatorProcess,
    grant_rights,
    serve_jobs,
)
from testbed.control_plane.pods import Pods, own_namespace
from testbed.images.builder import image_builder
from testbed.images.oci_images import TRAINER_IMAGE
from testbed.real_node.node import RealNode, real_cluster, why_impossible

OPERATOR_IMAGE = "localhost/arcface-operator:test"


@pytest.fixture(scope="session")
def able_machine() -> None:
    """Where a node is impossible, the test is skipped with the reason; in CI it fails."""
    reason = why_impossible()
    if reason is not None and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def node(able_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A Ready node."""
    with real_cluster(tmp_path_factory.mktemp("real-cluster")) as node:
        yield node


@pytest.fixture(scope="module")
def operator(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator outside of the node, with the rights of rbac.yaml."""
    serve_jobs(node.plane)
    grant_rights(node.plane)
    folder = tmp_path_factory.mktemp("operator")
    # The time that users' pods have to save in: ranks of a real training need more than the tests' few seconds.
    settings = {"trainerImage": TRAINER_IMAGE, "terminationGraceSeconds": DEFAULTS["terminationGraceSeconds"]}
    with OperatorProcess(node.plane, folder, "--no-leader-election", settings=settings) as process:
        process.wait_until_it_leads()
        yield process


@pytest.fixture(scope="session")
def operator_image(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the operator's image on the node, as its Dockerfile makes it."""
    with image_builder() as builder:
        builder.build("Dockerfile.operator", OPERATOR_IMAGE)
        node.import_image(builder.export(OPERATOR_IMAGE, tmp_path_factory.mktemp("image") / "operator.tar"))
    return OPERATOR_IMAGE


@pytest.fixture(scope="module")
def bare_node(node: RealNode) -> RealNode:
    """The node without what other tests have installed, be it with Helm or without."""
    names = [f"namespace/{NAMESPACE}", f"clusterrole/{ACCOUNT}", f"clusterrolebinding/{ACCOUNT}"]
    for name in (*names, "crd/arcfacetrainingjobs.arcface.io"):
        node.plane.kubectl("delete", name, "--ignore-not-found", "--timeout=60s")
    return node


@pytest.fixture
def pods(node: RealNode, request: pytest.FixtureRequest) -> Iterator[Pods]:
    """The pods of a namespace that is named after the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
    with own_namespace(node.api, name) as pods:
        yield pods
