"""Kueue's real manager and a real training, whose quota another job takes, and which comes back when that has ended.

The other one is played by a shell script: of it no more is looked at than that it waits, is let in and ends.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.history import History
from arcface_faces.checkpoint import newest_complete, read_manifest
from arcface_operator.manifests.worker_pod import CONTAINER as TRAINER
from support.processes.training_jobs import TrainingJobs, condition
from support.processes.trainings import write_image_folder
from support.waiting import wait_until
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import host_python, stand_in_image
from testbed.real_node.node import RealNode
from testbed.schedulers.kueue import Kueue
from testbed.schedulers.kueue_objects import URGENT, Workloads, of_kueue

pytestmark = pytest.mark.real_node
SECONDS = 300.0
QUOTA = {"name": "any", "resources": [{"name": "cpu", "nominalQuota": 1}]}
WORKERS: dict[str, Any] = {"accelerator": "cpu", "resources": {"requests": {"cpu": "1"}}}
MODEL = {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16}
SHORT_IMAGE = "localhost/short-training:test"
SHORT = """#!/bin/sh
# Plays `arcface train --config C --termination-log L`: has trained its only step.
echo '{"progress":{"epoch":1,"step":1,"totalSteps":1,"updatedAt":"2026-01-01T00:00:00Z"}}' > "$5"
"""


@pytest.fixture(scope="module")
def kueue(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """The manager, with quota for one rank that nobody is preempted for yet."""
    with Kueue(node.plane, tmp_path_factory.mktemp("kueue")) as manager:
        manager.apply([of_kueue("ResourceFlavor", "any", {}), cluster_queue("Never"), URGENT])
        yield manager


def cluster_queue(preemption: str) -> dict[str, Any]:
    """Room for one rank, with what may be preempted for another."""
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": preemption},
        "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [QUOTA]}],
    }
    return of_kueue("ClusterQueue", "cpu", spec)


@pytest.mark.usefixtures("operator")
def test_a_training_waits_without_pods_then_preempts_another_which_goes_on_from_its_checkpoint(
    node: RealNode, pods: Pods, kueue: Kueue, tmp_path: Path
) -> None:
    jobs, workloads = TrainingJobs(node.api, pods.namespace), Workloads(node.api, pods.namespace)
    workloads.add_queue("faces", "cpu")
    checkpoints = store_data(node, pods, tmp_path)
    scheduling = {"gang": "kueue", "queue": "faces"}
    node.add_image(stand_in_image(SHORT_IMAGE, tmp_path / "arcface", SHORT))
    first = {"model": MODEL, "workers": {**WORKERS, "template": host_python(TRAINER)}}
    jobs.create("first", **first, training={"batchSize": 4, "epochs": 40}, scheduling=scheduling)
    wait_until(lambda: workloads.holds("first", "Admitted") if workloads.all() else False)
    urgent = {**scheduling, "priorityClassName": URGENT["metadata"]["name"]}
    jobs.create("second", image=SHORT_IMAGE, imagePullPolicy="Never", workers=WORKERS, scheduling=urgent)
    jobs.wait_until(lambda status: "unused quota" in condition(status, "Ready").get("message", ""), "second")
    jobs.wait_until(trains_beyond(0), "first", SECONDS)
    assert (jobs.phase("second"), list(jobs.pods())) == ("Queued", ["first-worker-0"])
    kueue.apply([cluster_queue("LowerPriority")])
    status = jobs.wait_for("Queued", "first", SECONDS)
    assert condition(status, "Training")["reason"] == "QuotaWithdrawn"
    jobs.wait_for("Succeeded", "second", SECONDS)
    stopped_at = read_manifest(newest_complete(checkpoints / "first")).step
    jobs.wait_until(trains_beyond(stopped_at), "first", SECONDS)
    status = jobs.wait_for("Succeeded", "first", SECONDS)
    total = status["progress"]["totalSteps"]
    assert 0 < stopped_at < total == read_manifest(newest_complete(checkpoints / "first")).step
    assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (1, 0, 0)
    assert status["checkpoint"]["resumedFromStep"] == stopped_at
    starts = History.read(checkpoints / "first").starts
    assert [line.step for line in starts] == [0, stopped_at], "each step, and with it each image, was trained once"


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
