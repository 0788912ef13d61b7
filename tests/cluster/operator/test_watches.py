"""What is missing, broken or taken away while the operator watches: it goes on by itself, and sets it right."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fakes.api_proxy import ApiProxy
from support.processes.operator_process import GROUPS, USER, OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TRAINS, TrainingJobs, condition
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import MERGE, own_namespace
from testbed.fake_nodes.nodes import FakeNodes

ASCEND = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 2}
TABLE = "rings-config-quick"


@pytest.fixture
def trains(jobs: TrainingJobs, fake_nodes: FakeNodes, operator: OperatorProcess) -> TrainingJobs:
    """A job with a rank table, at work."""
    assert operator.is_serving()
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(workers=ASCEND, training={"precision": "fp32"})
    jobs.wait_until(lambda status: condition(status, "RankTableReady").get("status") == "True")
    jobs.wait_for("Training")
    return jobs


def path_of(jobs: TrainingJobs, plural: str, name: str) -> str:
    return f"/api/v1/namespaces/{jobs.namespace}/{plural}/{name}"


def read(jobs: TrainingJobs, plural: str, name: str) -> dict[str, Any]:
    answer = jobs.api.get(path_of(jobs, plural, name))
    return {} if answer.status_code == 404 else answer.raise_for_status().json()


def content(item: dict[str, Any]) -> Any:
    """What is ours of an object, apart from the time of its writing."""
    data = {key: text for key, text in item.get("data", {}).items() if key != "version"}
    return data, item.get("spec", {}).get("selector"), [port["port"] for port in item.get("spec", {}).get("ports", [])]


def is_another(jobs: TrainingJobs, plural: str, name: str, uid: str) -> bool:
    """Whether an object is there that is not the one of before."""
    return read(jobs, plural, name).get("metadata", {}).get("uid", uid) != uid


OBJECTS = [("configmaps", TABLE), ("configmaps", "quick-config"), ("services", "quick")]


def test_what_is_deleted_while_a_gang_trains_comes_back_as_it_was(trains: TrainingJobs) -> None:
    for plural, name in OBJECTS:
        before = read(trains, plural, name)
        trains.api.delete(path_of(trains, plural, name)).raise_for_status()
        wait_until(partial(is_another, trains, plural, name, before["metadata"]["uid"]))
        assert content(read(trains, plural, name)) == content(before)
    assert json.loads(read(trains, "configmaps", TABLE)["data"]["hccl.json"])["status"] == "completed"
    trains.wait_until(lambda status: condition(status, "RankTableReady").get("status") == "True")
    assert trains.status()["restarts"] == 0


CHANGES = [
    ("configmaps", TABLE, {"data": {"hccl.json": "{}"}}),
    ("configmaps", "quick-config", {"data": {"run.json": "{}"}}),
    ("services", "quick", {"spec": {"selector": {"app": "mine"}}}),
    ("services", "quick", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
]


@pytest.mark.parametrize(("plural", "name", "change"), CHANGES)
def test_what_somebody_changes_is_set_right(trains: TrainingJobs, plural: str, name: str, change: Any) -> None:
    before = read(trains, plural, name)
    trains.api.patch(path_of(trains, plural, name), json=change, headers=MERGE).raise_for_status()

    def is_right() -> bool:
        found = read(trains, plural, name)
        return content(found) == content(before) and found["metadata"]["labels"] == before["metadata"]["labels"]

    wait_until(is_right)
    assert trains.status()["restarts"] == 0


def test_the_kind_may_come_after_the_operator(tmp_path: Path) -> None:
    """On a control plane of its own: the definition of the kind is not there when the operator starts."""
    with ControlPlane(tmp_path / "plane") as plane:
        grant_rights(plane)
        with OperatorProcess(plane, tmp_path / "operator") as operator:
            operator.wait_until_it_leads()
            serve_jobs(plane)
            with own_namespace(plane.admin, "late") as place:
                jobs = TrainingJobs(plane.admin, place.namespace)
                jobs.bind_claims()
                jobs.create()
                jobs.wait_for("Queued", seconds=60)
            assert operator.stop() == 0


TROUBLE: dict[str, Callable[[ApiProxy], None]] = {
    "error frames": lambda proxy: proxy.break_watches({"code": 500, "message": "etcdserver: leader changed"}),
    "error frames without a code": lambda proxy: proxy.break_watches({"message": "who knows"}),
    "unavailable": lambda proxy: proxy.refuse_all(503),
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_it_goes_on_by_itself_after_trouble(
    jobs: TrainingJobs, plane: ControlPlane, api: httpx.Client, folder: Path, trouble: Callable[[ApiProxy], None]
) -> None:
    with ApiProxy(plane, USER, GROUPS) as proxy:
        operator = OperatorProcess(plane, folder, "--no-leader-election", "--namespace", jobs.namespace)
        operator.kubeconfig = proxy.kubeconfig(folder / "kubeconfig")
        with operator:
            operator.wait_until_it_leads()
            jobs.create("before")
            jobs.wait_for("Starting", "before")
            trouble(proxy)
            wait_until(lambda: proxy.troubled > 10)
            jobs.create("meanwhile")
            jobs.delete("before")
            proxy.heal()
            jobs.wait_for("Starting", "meanwhile", seconds=60)
            wait_until(lambda: "before" not in operator.metrics())
            assert operator.is_serving()
