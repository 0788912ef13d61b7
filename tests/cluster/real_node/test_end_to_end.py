"""The whole way on a real kubelet: a job is applied, its pods train in containers, and kubectl tells how it went."""

import json
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_FILE
from arcface_api.contract.rank_table import RankTableDocument
from arcface_faces.checkpoint import newest_complete, read_manifest
from arcface_operator.manifests.worker_pod import CONTAINER as TRAINER
from arcface_trainer.device import DEVICE_TARGET
from support.processes.training_jobs import TrainingJobs, condition
from support.processes.trainings import write_image_folder
from testbed.ascend.allocation import with_runtime
from testbed.ascend.device_plugin import RESOURCE, DevicePlugin
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import host_python, stand_in_image
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
TRAINING_SECONDS = 900
TINY = {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16}
STAND_IN_IMAGE = "localhost/stand-in:test"
STAND_IN = """#!/bin/sh
# Plays `arcface train --config C --termination-log L`: prints what the pod was given, once the rank table is complete.
until grep -q '"status":"completed"' "$RANK_TABLE_FILE"; do sleep 0.1; done
echo "seen=$(date +%s)"
env | sort
cat "$RANK_TABLE_FILE"
echo
cat "$(dirname "$RANK_TABLE_FILE")/version"
echo
echo '{"progress":{"epoch":1,"step":1,"totalSteps":1,"updatedAt":"2026-01-01T00:00:00Z"}}' > "$5"
"""


@pytest.mark.usefixtures("operator")
def test_ascend_pods_get_rank_table_and_environment_by_the_protocol(node: RealNode, pods: Pods, tmp_path: Path) -> None:
    node.add_image(stand_in_image(STAND_IN_IMAGE, tmp_path / "arcface", STAND_IN))
    jobs = TrainingJobs(node.api, pods.namespace)
    for claim in ("faces", "checkpoints"):
        (tmp_path / claim).mkdir()
        node.claim(pods.namespace, claim, tmp_path / claim)
    with DevicePlugin(node.kubelet_folder, node.api, poll_seconds=0.5, response=with_runtime) as plugin:
        jobs.create(
            image=STAND_IN_IMAGE,
            imagePullPolicy="Never",
            workers={"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 2, "resourceName": RESOURCE},
            training={"precision": "fp32"},
        )
        status = jobs.wait_until(lambda status: status.get("phase") in {"Succeeded", "Failed"}, seconds=120)
        assert status["phase"] == "Succeeded", logs(pods, status)
        assert plugin.errors == []
        written = [pod_configuration(pods, f"quick-worker-{index}") for index in range(2)]
        for index in range(2):
            lines = pods.log(f"quick-worker-{index}").splitlines()
            environment = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("{"))
            table = next(line for line in lines if line.startswith('{"status"'))
            assert table == expected_table(pods, written, node.network.node_address)
            assert {name: environment.get(name) for name in expected_environment(index)} == expected_environment(index)
            visible = environment["ASCEND_VISIBLE_DEVICES"].split(",")  # in the kubelet's order
            assert sorted(visible, key=int) == [device["device_id"] for device in written[index]["devices"]]
            seconds = int(environment["seen"]) - int(lines[-1])
            assert 0 <= seconds <= 2, "the rank table took too long from its completion to the pod"
    assert condition(status, "RankTableReady")["reason"] == "Ended"


@pytest.mark.usefixtures("operator")
def test_the_ranks_of_an_ascend_job_meet_train_and_resume_with_a_cpu_in_the_place_of_cards(
    node: RealNode, pods: Pods, tmp_path: Path
) -> None:
    """One card a pod; pods of two, and what each of their ranks is told, are in `tests/training/test_npu_start.py`."""
    jobs = TrainingJobs(node.api, pods.namespace)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    faces = write_image_folder(tmp_path / "faces")
    faces.chmod(0o755)
    node.claim(pods.namespace, "faces", faces)
    node.claim(pods.namespace, "checkpoints", checkpoints, volume="local")
    with DevicePlugin(node.kubelet_folder, node.api, poll_seconds=0.5) as plugin:
        jobs.create(
            model=TINY,
            training={"batchSize": 4, "epochs": 40},
            workers={
                "accelerator": "ascend",
                "replicas": 2,
                "resourceName": RESOURCE,
                "template": without_cards(),
            },
        )
        status = jobs.wait_until(lambda status: has_step(status) or has_ended(status), seconds=TRAINING_SECONDS)
        assert status["phase"] == "Training", logs(pods, status)
        table = RankTableDocument.parse(jobs.config_map("rings-config-quick")[RANK_TABLE_FILE])
        assert table is not None
        for index in range(2):
            assert table.has_rank(index, pods.read(f"quick-worker-{index}")["status"]["podIP"])
        assert condition(status, "RankTableReady")["status"] == "True"
        jobs.patch(suspend=True)
        status = jobs.wait_for("Suspended", seconds=TRAINING_SECONDS)
        stopped_at = status["checkpoint"]["step"]
        manifest = read_manifest(newest_complete(checkpoints / "quick"))
        assert (manifest.step, manifest.loss_scale is None) == (stopped_at, False), "the default precision is fp16"
        assert stopped_at < status["progress"]["totalSteps"]
        assert all(pod["status"]["phase"] == "Failed" for pod in jobs.pods().values()), "a suspended job runs nothing"
        jobs.patch(suspend=False)
        status = jobs.wait_until(has_ended, seconds=TRAINING_SECONDS)
        assert status["phase"] == "Succeeded", logs(pods, status)
        assert (status["attempt"], status["restarts"]) == (1, 0)
        assert status["checkpoint"]["resumedFromStep"] == stopped_at
        assert status["progress"]["step"] == status["checkpoint"]["step"] == status["progress"]["totalSteps"]
        assert plugin.errors == []


def without_cards() -> dict[str, Any]:
    """Template of pods that have Python from the node, and compute on its CPU where they would take a card."""
    template = host_python(TRAINER)
    template["spec"]["containers"][0]["env"] = [{"name": DEVICE_TARGET, "value": "CPU"}]
    return template


def has_step(status: dict[str, Any]) -> bool:
    """Whether the ranks have trained a step."""
    return bool((status.get("progress") or {}).get("step"))


def has_ended(status: dict[str, Any]) -> bool:
    """Whether the job is over."""
    return status.get("phase") in {"Succeeded", "Failed"}


def pod_configuration(pods: Pods, name: str) -> dict[str, Any]:
    """What the device plugin wrote on a pod."""
    annotation = "ascend.kubectl.kubernetes.io/ascend-910-configuration"
    configuration: dict[str, Any] = json.loads(pods.read(name)["metadata"]["annotations"][annotation])
    return configuration


def expected_table(pods: Pods, written: list[dict[str, Any]], host: str) -> str:
    """hccl.json version 1.0: all pods are on one node and hence one server, its cards in the order of the ranks."""
    addresses = [pods.read(f"quick-worker-{index}")["status"]["podIP"] for index in range(len(written))]
    devices = [
        f'{{"device_id":"{device["device_id"]}","device_ip":"{device["device_ip"]}","rank_id":"{2 * index + n}"'
        + (f',"container_ip":"{addresses[index]}"}}' if index else "}")
        for index, configuration in enumerate(written)
        for n, device in enumerate(configuration["devices"])
    ]
    server = f'{{"server_id":"{host}","container_ip":"{addresses[0]}","device":[{",".join(devices)}]}}'
    return f'{{"status":"completed","version":"1.0","attempt":"0","server_count":"1","server_list":[{server}]}}'


def expected_environment(index: int) -> dict[str, str]:
    """The rank identity of a pod, as the contract has it."""
    return {
        "MS_ROLE": "MS_WORKER",
        "MS_WORKER_NUM": "4",
        "MS_NODE_ID": str(2 * index),
        "ARCFACE_ATTEMPT": "0",
        "RANK_TABLE_FILE": "/user/serverid/devindex/config/hccl.json",
        "RANK_SIZE": "4",
        "RANK_ID": str(2 * index),
        "POD_NAME": f"quick-worker-{index}",
    }


def logs(pods: Pods, status: dict[str, Any]) -> str:
    """What to read when a job did not end well."""
    names = [pod["metadata"]["name"] for pod in pods.api.get(pods.path).json()["items"]]
    ends = {name: pods.log(name)[-3000:] for name in names}
    return json.dumps({"status": status, "logs": ends}, indent=1)
