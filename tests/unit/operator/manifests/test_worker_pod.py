"""The pods that only show whether there is room: placed as rank pods are, and doing nothing."""

from typing import Any

import pytest

from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.worker_pod import build_spare_pod, build_worker_pod
from support.builders.jobs import make_job
from support.builders.views import SETTINGS

TEMPLATE = {
    "metadata": {"labels": {"team": "faces"}},
    "spec": {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "npu", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
        "containers": [{"name": "sidecar", "image": "sidecar", "command": ["watch"]}],
    },
}
JOB = make_job(
    workers={
        "accelerator": "ascend",
        "replicas": 12,
        "minReplicas": 1,
        "devicesPerWorker": 8,
        "resources": {"requests": {"cpu": 4}},
        "template": TEMPLATE,
    },
    scheduling={"priorityClassName": "high", "schedulerName": "own"},
)
NOT_PLACED_BY = {"hostname", "containers", "activeDeadlineSeconds", "terminationGracePeriodSeconds"}


def built(index: int) -> tuple[Manifest, Manifest]:
    return build_worker_pod(JOB, index, 3, SETTINGS), build_spare_pod(JOB, index, 3, SETTINGS)


def test_all_that_a_scheduler_goes_by_is_as_with_a_rank_pod() -> None:
    rank, spare = built(11)
    assert {key: spare["spec"][key] for key in spare["spec"].keys() - NOT_PLACED_BY} == {
        key: rank["spec"][key] for key in rank["spec"].keys() - NOT_PLACED_BY
    }
    of_containers = [
        [(item["name"], item["image"], item.get("resources"), item.get("ports")) for item in pod["spec"]["containers"]]
        for pod in (rank, spare)
    ]
    assert of_containers[0] == of_containers[1]
    labels = [{**pod["metadata"]["labels"], "arcface.io/attempt": ""} for pod in (rank, spare)]
    assert labels[0] == labels[1]
    assert spare["metadata"].get("annotations") == rank["metadata"].get("annotations")


def test_it_is_of_no_attempt_does_nothing_and_ends_by_itself() -> None:
    _, spare = built(11)
    trainer = next(item for item in spare["spec"]["containers"] if item["name"] == "trainer")
    assert (spare["metadata"]["name"], spare["metadata"]["labels"]["arcface.io/attempt"]) == ("quick-spare-11", "spare")
    assert (trainer["command"], trainer["args"]) == (["sleep"], ["300"])
    assert spare["spec"]["activeDeadlineSeconds"] == SETTINGS.partial_gang_seconds == 300
    assert spare["spec"]["terminationGracePeriodSeconds"] == 1
    assert spare["spec"]["hostname"] == "quick-spare-11"


@pytest.mark.parametrize("replicas", [2, 10, 1000])
def test_its_name_is_no_longer_than_that_of_a_rank_pod(replicas: int) -> None:
    workers: dict[str, Any] = {"replicas": replicas, "minReplicas": 1}
    name = "a" * (63 - len("-worker-") - len(str(replicas - 1)))
    job = make_job(name, workers=workers)
    assert len(build_spare_pod(job, replicas - 1, 0, SETTINGS)["metadata"]["name"]) <= 63
