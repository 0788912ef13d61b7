"""A gang that loses nodes goes on smaller and grows back: a real API server and scheduler; kubelets are played."""

import json
from collections.abc import Iterator

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL
from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import TRAINS, TrainingJobs, condition
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes

TEMPLATE = {"spec": {"terminationGracePeriodSeconds": 1}}
WORKERS = {"accelerator": "ascend", "replicas": 8, "minReplicas": 2, "devicesPerWorker": 8, "template": TEMPLATE}

RESIZED = [("Elastic", "NoRoom"), ("Elastic", "MoreRoom")]


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One that has no minutes to wait."""
    settings = {"shrinkSeconds": 1, "growSeconds": 1}
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(plane, folder, "--no-leader-election", settings=settings) as process:
        process.wait_until_it_leads()
        yield process


def world_size(jobs: TrainingJobs) -> tuple[int, int]:
    ranks = json.loads(jobs.config_map("quick-config")["run.json"])["ranks"]
    return ranks["worldSize"], ranks["fullWorldSize"]


def spares(jobs: TrainingJobs) -> list[str]:
    """Spare pods that wait for room."""
    pods = jobs.pods().items()
    return sorted(name for name, pod in pods if pod["metadata"]["labels"].get(ATTEMPT_LABEL) == "spare")


def has_no_room(jobs: TrainingJobs, name: str) -> bool:
    """Whether the scheduler says so."""
    conditions = jobs.pods()[name].get("status", {}).get("conditions", [])
    return any(item.get("reason") == "Unschedulable" for item in conditions)


@pytest.mark.usefixtures("operator")
def test_nodes_go_and_come_back_and_the_gang_with_them(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, TRAINS)
    jobs.create(workers=WORKERS, training={"precision": "fp32"}, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training")
    gone = {jobs.pods()[name]["spec"]["nodeName"]: name for name in ("quick-worker-0", "quick-worker-5")}
    for node, pod in gone.items():
        fake_nodes.lose(node)
        answer(jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/{pod}"))
    status = jobs.wait_until(lambda status: status.get("elastic") and status["phase"] == "Training")
    assert (status["elastic"]["pods"], status["workers"]["summary"], world_size(jobs)) == (6, "6/8", (48, 64))
    assert condition(status, "FullSize")["message"].startswith("6 of 8 pods since ")
    lost = status["restarts"]  # the second pod may go while the first is being made anew alone
    assert (lost in {1, 2}, status.get("countedRestarts", 0)) == (True, 0)
    assert status["rankTable"]["total"] == len(ranks_in_table(jobs)) == 48
    wait_until(lambda: spares(jobs) == ["quick-spare-6", "quick-spare-7"])
    wait_until(lambda: all(has_no_room(jobs, name) for name in spares(jobs)))
    for node in gone:
        fake_nodes.restore(node)
    status = jobs.wait_until(lambda status: status["elastic"]["pods"] == 8 and status["phase"] == "Training")
    assert (status["workers"]["summary"], world_size(jobs), spares(jobs)) == ("8/8", (64, 64), [])
    assert (condition(status, "FullSize")["status"], status["restarts"]) == ("True", lost)
    assert [(each["rung"], each["cause"]) for each in status["recoveries"][lost:]] == RESIZED
    assert jobs.events()["Resized"]


def ranks_in_table(jobs: TrainingJobs) -> list[str]:
    table = json.loads(jobs.config_map("rings-config-quick")["hccl.json"])
    return [card["rank_id"] for server in table["server_list"] for card in server["device"]]
