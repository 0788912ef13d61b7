"""A control plane with our resource and eight fake nodes for the whole session, and a namespace for each test."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from support.processes.operator_process import serve_jobs
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that serves ArcFaceTrainingJobs and logs who asks for what."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), is_audited=True) as plane:
        serve_jobs(plane)
        yield plane


@pytest.fixture(scope="session")
def all_fake_nodes(control_plane: ControlPlane) -> Iterator[FakeNodes]:
    """Eight nodes with eight devices each; tests take `fake_nodes`."""
    with FakeNodes(control_plane) as nodes:
        yield nodes


@pytest.fixture
def fake_nodes(all_fake_nodes: FakeNodes) -> Iterator[FakeNodes]:
    """The fake nodes; those that a test loses are back for the next one."""
    yield all_fake_nodes
    for name in all_fake_nodes.names:
        all_fake_nodes.restore(name)
    all_fake_nodes.check()


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> httpx.Client:
    """HTTP client of the administrator."""
    return control_plane.admin


@pytest.fixture
def namespace(api: httpx.Client) -> Iterator[str]:
    """A namespace of the test's own; its pods are gone when the next test begins, its other objects soon after."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    with own_namespace(api, name) as pods:
        yield name
    answer(api.request("DELETE", pods.path, json={"gracePeriodSeconds": 0}))
    wait_until(lambda: not answer(api.get(pods.path))["items"])
