"""Two replicas: one acts, the other takes over: at once from a leader that leaves, else when the Lease is over."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.operator_process import NAMESPACE, OperatorProcess
from support.processes.training_jobs import TRAINS, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes

LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/arcface-operator"


@pytest.fixture
def pair(plane: ControlPlane, namespace: str, folder: Path) -> Iterator[list[OperatorProcess]]:
    """Two replicas that look at the test's namespace; the first one leads."""
    plane.admin.delete(LEASE_PATH)
    with OperatorProcess(plane, folder / "1", "--namespace", namespace) as first:
        first.wait_until_it_leads()
        with OperatorProcess(plane, folder / "2", "--namespace", namespace) as second:
            wait_until(second.is_serving)
            yield [first, second]


def test_one_leads_and_the_other_stands_by(pair: list[OperatorProcess]) -> None:
    assert [replica.leads() for replica in pair] == [True, False]
    assert all(replica.is_serving("/healthz") for replica in pair)


def test_a_leader_that_leaves_hands_over_at_once(
    pair: list[OperatorProcess], jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    first, second = pair
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create("one")
    jobs.wait_for("Training", "one")
    left = time.monotonic()
    assert first.stop() == 0
    wait_until(second.leads, seconds=10)
    assert time.monotonic() - left < 10  # a Lease that runs out takes 15 s
    jobs.create("two")
    jobs.wait_for("Training", "two")
    assert jobs.status("one").get("restarts", 0) == 0


def test_a_killed_leader_is_replaced_when_its_lease_is_over(pair: list[OperatorProcess]) -> None:
    first, second = pair
    first.kill()
    wait_until(second.leads, seconds=40)


def test_a_restart_of_the_api_server_is_survived(
    pair: list[OperatorProcess], plane: ControlPlane, jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create("before")
    jobs.wait_for("Training", "before")
    plane.restart_api_server()
    jobs.create("after")
    jobs.wait_for("Training", "after")
    assert jobs.status("before").get("restarts", 0) == 0
    assert pair[0].leads()
