"""Variables of rank pods: by the kind of gang, and what a user's template may do about them."""

from typing import Any

import pytest

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job

MEETING = {"MS_ROLE", "MS_SCHED_HOST", "MS_SCHED_PORT", "RANK_TABLE_FILE", "RANK_ID", "RANK_SIZE"}
HCCL = {"HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT", "HCCL_IF_IP", "HCCL_LOGIC_SUPERPOD_ID"}
A3 = {
    "metadata": {"annotations": {"sp-block": "16"}},
    "spec": {"nodeSelector": {"accelerator-type": "module-a3-16-super-pod"}},
}


def ascend(replicas: int, devices: int, template: dict[str, Any] | None = None, **spec: Any) -> ArcFaceTrainingJob:
    workers = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices}
    return make_job(workers=workers if template is None else {**workers, "template": template}, **spec)


def variables(job: ArcFaceTrainingJob, index: int = 0) -> dict[str, Any]:
    (container,) = build_worker_pod(job, index, 0, Settings())["spec"]["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


@pytest.mark.parametrize(
    ("job", "index", "expected"),
    [
        pytest.param(
            ascend(1, 8),
            0,
            {"MS_NODE_ID": "0", "MS_WORKER_NUM": "8", "RANK_TABLE_FILE": "/user/serverid/devindex/config/hccl.json"},
            id="910A 1x8",
        ),
        pytest.param(ascend(2, 8), 1, {"MS_NODE_ID": "8", "MS_WORKER_NUM": "16", "RANK_ID": "8"}, id="A2 2x8"),
        pytest.param(ascend(2, 16, A3), 1, {"MS_NODE_ID": "16", "HCCL_LOGIC_SUPERPOD_ID": "1"}, id="A3 2x16"),
    ],
)
def test_gangs_on_ascend(job: ArcFaceTrainingJob, index: int, expected: dict[str, str]) -> None:
    found = variables(job, index)
    assert found | expected == found
    assert "MS_SCHED_HOST" not in found, "an address, which is not known when pods are made"
    assert (found["HCCL_CONNECT_TIMEOUT"], found["HCCL_EXEC_TIMEOUT"]) == ("1620", "1620")


@pytest.mark.parametrize("accelerator", ["ascend", "cpu"])
def test_a_rank_alone_has_neither_table_nor_scheduler(accelerator: str) -> None:
    pod = build_worker_pod(make_job(workers={"accelerator": accelerator}), 0, 0, Settings())
    (container,) = pod["spec"]["containers"]
    assert not (MEETING | HCCL) & {item["name"] for item in container["env"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert "rank-table" not in volumes
    assert [item["path"] for item in volumes["rendezvous"]["downwardAPI"]["items"]] == ["launch"]
    assert "hccl/rankIndex" not in pod["metadata"].get("annotations", {})


@pytest.mark.parametrize("accelerator", ["ascend", "cpu"])
def test_ranks_that_wait_for_each_other_end_by_themselves_when_the_start_is_over(accelerator: str) -> None:
    workers = {"accelerator": accelerator, "replicas": 2}
    assert variables(make_job(workers=workers, runPolicy={"startupDeadlineSeconds": 600}))["MS_TOPO_TIMEOUT"] == "600"
    assert "MS_TOPO_TIMEOUT" not in variables(make_job(workers={**workers, "replicas": 1}))


def test_pods_on_cpu_know_nothing_of_hccl() -> None:
    assert not HCCL & set(variables(make_job(workers={"accelerator": "cpu", "replicas": 2})))


@pytest.mark.parametrize(
    ("policy", "connect", "execute"),
    [
        pytest.param({"startupDeadlineSeconds": 60, "stallSeconds": 100}, "120", "90", id="not below HCCL's least"),
        pytest.param({"startupDeadlineSeconds": 900, "stallSeconds": 600}, "810", "540", id="below ours"),
        pytest.param(
            {"startupDeadlineSeconds": 90_000, "stallSeconds": 90_000}, "7200", "17340", id="not above HCCL's most"
        ),
        pytest.param({"stallSeconds": 1}, "1620", "1", id="never 0, which is no limit"),
    ],
)
def test_hccl_gives_up_before_the_operator_does(policy: dict[str, int], connect: str, execute: str) -> None:
    found = variables(ascend(2, 2, runPolicy=policy))
    assert (found["HCCL_CONNECT_TIMEOUT"], found["HCCL_EXEC_TIMEOUT"]) == (connect, execute)


def test_hccl_is_told_the_nodes_address_exactly_in_the_nodes_network() -> None:
    assert "HCCL_IF_IP" not in variables(ascend(2, 2))
    assert "HCCL_IF_IP" not in variables(ascend(2, 2, {"spec": {"hostNetwork": False}}))
    found = variables(ascend(2, 2, {"spec": {"hostNetwork": True}}))
    assert found["HCCL_IF_IP"] == {"fieldRef": {"fieldPath": "status.hostIP"}}


@pytest.mark.parametrize(("block", "numbers"), [("16", ["0", "1"]), ("32", ["0", "0"]), ("none", ["0", "0"])])
def test_logical_super_pods_are_numbered_by_their_devices(block: str, numbers: list[str | None]) -> None:
    job = ascend(2, 16, {"metadata": {"annotations": {"sp-block": block}}})
    assert [variables(job, index).get("HCCL_LOGIC_SUPERPOD_ID") for index in range(2)] == numbers


def test_a_template_may_set_other_limits() -> None:
    env = [{"name": "HCCL_EXEC_TIMEOUT", "value": "68"}]
    job = ascend(2, 2, {"spec": {"containers": [{"name": "trainer", "env": env}]}})
    assert variables(job)["HCCL_EXEC_TIMEOUT"] == "68"
