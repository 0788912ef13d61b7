"""Kueue's real manager takes a real training's quota, and gives it back: it goes on from its checkpoint."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arcface_faces.checkpoint import newest_complete, read_manifest
from arcface_operator.manifests.worker_pod import CONTAINER as TRAINER
from support.processes.operator_process import DEFAULTS, OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TrainingJobs, condition
from support.processes.trainings import write_image_folder
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import TRAINER_IMAGE, host_python
from testbed.real_node.node import RealNode
from testbed.schedulers.kueue import Kueue
from testbed.schedulers.kueue_objects import URGENT, Workloads, of_kueue

pytestmark = pytest.mark.real_node
SECONDS = 300.0
QUOTA = {"name": "any", "resources": [{"name": "cpu", "nominalQuota": 1}]}
QUEUE = {
    "namespaceSelector": {},
    "preemption": {"withinClusterQueue": "LowerPriority"},
    "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [QUOTA]}],
}
JOB: dict[str, Any] = {
    "model": {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
    "workers": {
        "accelerator": "cpu",
        "resources": {"requests": {"cpu": "1"}},
        "template": host_python(TRAINER),
    },
    "scheduling": {"gang": "kueue", "queue": "faces"},
}


@pytest.fixture(scope="module")
def operator(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """With the time that users' pods have to save in."""
    serve_jobs(node.plane)
    grant_rights(node.plane)
    settings = {"trainerImage": TRAINER_IMAGE, "terminationGraceSeconds": DEFAULTS["terminationGraceSeconds"]}
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(node.plane, folder, "--no-leader-election", settings=settings) as process:
        process.wait_until_it_leads()
        yield process


@pytest.fixture(scope="module")
def kueue(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """The manager, with quota for one rank."""
    with Kueue(node.plane, tmp_path_factory.mktemp("kueue")) as manager:
        manager.apply([of_kueue("ResourceFlavor", "any", {}), of_kueue("ClusterQueue", "cpu", QUEUE), URGENT])
        yield manager


@pytest.mark.usefixtures("operator", "kueue")
def test_a_preempted_training_goes_on_from_its_checkpoint(node: RealNode, pods: Pods, tmp_path: Path) -> None:
    jobs = TrainingJobs(node.api, pods.namespace)
    Workloads(node.api, pods.namespace).add_queue("faces", "cpu")
    checkpoints = store_data(node, pods, tmp_path)
    jobs.create("first", **JOB, training={"batchSize": 4, "epochs": 60}, runPolicy={"backoffLimit": 0})
    jobs.wait_until(trains_beyond(0), "first", SECONDS)
    urgent = {**JOB, "scheduling": {**JOB["scheduling"], "priorityClassName": "urgent"}}
    jobs.create("urgent", **urgent, training={"batchSize": 4, "epochs": 1})
    status = jobs.wait_for("Queued", "first", SECONDS)
    assert condition(status, "Training")["reason"] == "QuotaWithdrawn"
    jobs.wait_for("Succeeded", "urgent", SECONDS)
    status = jobs.wait_until(lambda status: status.get("attempt") == 1 and trains_beyond(0)(status), "first", SECONDS)
    reached = status["checkpoint"]["resumedFromStep"]
    assert 0 < reached < status["progress"]["totalSteps"]
    status = jobs.wait_for("Succeeded", "first", SECONDS)
    assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (1, 0, 0)
    assert read_manifest(newest_complete(checkpoints / "first")).step == status["progress"]["totalSteps"] > reached


def store_data(node: RealNode, pods: Pods, folder: Path) -> Path:
    """Claims with a few images and for checkpoints; the folder of the latter."""
    faces, checkpoints = write_image_folder(folder / "faces"), folder / "checkpoints"
    faces.chmod(0o755)
    checkpoints.mkdir()
    node.claim(pods.namespace, "faces", faces)
    node.claim(pods.namespace, "checkpoints", checkpoints, volume="local")
    return checkpoints


def trains_beyond(step: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a job trains and is further than a step."""

    def does(status: dict[str, Any]) -> bool:
        assert status.get("phase") != "Failed", status
        return status.get("phase") == "Training" and (status.get("progress") or {}).get("step", 0) > step

    return does
