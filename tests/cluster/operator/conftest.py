"""An operator with the rights of rbac.yaml beside the control plane and the fake nodes."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.processes.operator_process import OperatorProcess, grant_rights
from support.processes.training_jobs import TrainingJobs
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane, where the operator has its rights."""
    grant_rights(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One replica for the tests of a module; it looks everywhere, so that it must be gone before others begin."""
    with OperatorProcess(plane, tmp_path_factory.mktemp("operator"), "--no-leader-election") as process:
        process.wait_until_it_leads()
        yield process


@pytest.fixture
def jobs(plane: ControlPlane, api: httpx.Client, namespace: str, fake_nodes: FakeNodes) -> TrainingJobs:
    """A namespace with storage for jobs, whose pods run on fake nodes."""
    jobs = TrainingJobs(api, namespace)
    jobs.bind_claims()
    return jobs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of operators of the test's own."""
    return tmp_path / "operator"
