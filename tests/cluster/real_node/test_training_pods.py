"""MindSpore runs in the node's pods, and the product's own pod manifests do as they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import SCHEDULER_ANNOTATION
from arcface_operator.manifests.config_maps import build_config_map
from arcface_operator.manifests.metadata import worker_name
from arcface_operator.manifests.worker_pod import CONTAINER, build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.processes.trainings import write_image_folder
from testbed.control_plane.api_answers import answer
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import TRAINER_IMAGE, host_python
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
RANK_SCRIPT = Path(__file__).with_name("all_reduce_rank.py")
RANKS = 2
START_SECONDS = 300


def test_ranks_in_two_pods_add_up_their_numbers(pods: Pods) -> None:
    address = ""
    for rank in range(RANKS):
        pods.create(rank_pod(rank, address))
        address = address or pods.wait_for(rank_name(0), "Running")["status"]["podIP"]
    for rank in range(RANKS):
        pods.wait_for(rank_name(rank), "Succeeded", START_SECONDS)
        assert pods.log(rank_name(rank)).splitlines()[-1] == "[11.0] [1.0, 10.0]"


def test_pods_of_a_job_train_as_its_manifests_say(node: RealNode, pods: Pods, tmp_path: Path) -> None:
    """As user 1000, images read-only from one claim, checkpoints into another, the report at the end."""
    faces, checkpoints = write_image_folder(tmp_path / "faces"), tmp_path / "checkpoints"
    faces.chmod(0o755)
    checkpoints.mkdir()
    node.claim(pods.namespace, "faces", faces)
    node.claim(pods.namespace, "checkpoints", checkpoints, volume="local")
    job = make_job(
        image=TRAINER_IMAGE,
        imagePullPolicy="Never",
        model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
        training={"epochs": 1, "batchSize": 4},
        workers={"replicas": RANKS, "template": host_python(CONTAINER)},
    )
    config = build_config_map(job)
    del config["metadata"]["namespace"]
    answer(pods.api.post(f"/api/v1/namespaces/{pods.namespace}/configmaps", json=config))
    names = [worker_name(job.metadata.name, index) for index in range(RANKS)]
    for index in range(RANKS):
        pod = build_worker_pod(job, index, 0, Settings())
        del pod["metadata"]["namespace"]
        pods.create(pod)
    address = pods.wait_for(names[0], "Running")["status"]["podIP"]
    for name in names:
        pods.annotate(name, **{SCHEDULER_ANNOTATION: address})
    for name in names:
        pods.wait_for(name, "Succeeded", START_SECONDS)
    assert json.loads(pods.ending(names[0])["message"])["checkpoint"]["step"] > 0
    assert {path.stat().st_uid for path in checkpoints.rglob("*")} == {1000}


def rank_name(rank: int) -> str:
    """Name of a rank's pod."""
    return f"rank-{rank}"


def rank_pod(rank: int, scheduler: str) -> dict[str, Any]:
    """A pod with one rank; the scheduler is at the given address, or in this pod."""
    template = host_python("main")["spec"]
    own_address = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    env = [
        {"name": "MS_SCHED_HOST", **({"value": scheduler} if scheduler else own_address)},
        {"name": "MS_SCHED_PORT", "value": "8118"},
        {"name": "MS_WORKER_NUM", "value": str(RANKS)},
        {"name": "MS_NODE_ID", "value": str(rank)},
        {"name": "MS_ROLE", "value": "MS_WORKER"},
        {"name": "GLOG_v", "value": "3"},
    ]
    container = {
        **template["containers"][0],
        "image": TRAINER_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python", str(RANK_SCRIPT)],
        "env": env,
    }
    spec = {"restartPolicy": "Never", "volumes": template["volumes"], "containers": [container]}
    return {"kind": "Pod", "metadata": {"name": rank_name(rank)}, "spec": spec}
