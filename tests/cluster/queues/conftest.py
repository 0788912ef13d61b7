"""A control plane of its own for queues: its scheduler knows gangs, and Kueue's webhooks have a say in every pod."""

import uuid
from collections.abc import Iterator

import pytest

from support.processes.operator_process import OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TrainingJobs
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes

GATES = "--feature-gates=GenericWorkload=true,GangScheduling=true"
FLAGS = {
    "kube-apiserver": [GATES, "--runtime-config=scheduling.k8s.io/v1alpha2=true"],
    "kube-controller-manager": [GATES],
    "kube-scheduler": [GATES],
}


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with gangs, where the operator has its rights."""
    with ControlPlane(tmp_path_factory.mktemp("queues"), flags=FLAGS) as plane:
        serve_jobs(plane)
        grant_rights(plane)
        yield plane


@pytest.fixture(scope="session")
def nodes(plane: ControlPlane) -> Iterator[FakeNodes]:
    """Room for four ranks."""
    with FakeNodes(plane, 2, devices=2, prefix="queue") as nodes:
        yield nodes


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One replica for the tests of a module."""
    with OperatorProcess(plane, tmp_path_factory.mktemp("operator"), "--no-leader-election") as process:
        process.wait_until_it_leads()
        yield process


@pytest.fixture
def jobs(plane: ControlPlane, nodes: FakeNodes, operator: OperatorProcess) -> Iterator[TrainingJobs]:
    """A namespace with storage for jobs; the room is free again once it is gone."""
    with own_namespace(plane.admin, f"test-{uuid.uuid4().hex[:8]}") as pods:
        jobs = TrainingJobs(plane.admin, pods.namespace)
        jobs.bind_claims()
        yield jobs
    nodes.check()
