"""Manifests and rank tables of jobs for three generations of Ascend cards, against files that were checked by eye.

The annotations are those of the emulated device plugin. Nobody has run these jobs on NPUs yet.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.rank_table import assemble
from arcface_operator.manifests.evaluator_pod import build_evaluator_pod
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.manifests.worker_pod import build_worker_pod, training_gang
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.builders.views import make_worker
from testbed.ascend.annotations import Chips, Generation, Holder, annotations_of, device_name

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = Settings(trainer_image="arcface-trainer:test")


def job_of(name: str, replicas: int, devices: int, machine: str, policy: str, **annotations: str) -> ArcFaceTrainingJob:
    """A job for one kind of machine, with the marks by which Ascend's Volcano plugin places it."""
    template = {
        "metadata": {"annotations": {"huawei.com/schedule_policy": policy, **annotations}},
        "spec": {"nodeSelector": {"accelerator-type": machine}},
    }
    workers = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices, "template": template}
    return make_job(
        name,
        workers=workers,
        evaluation={"claimName": "sets", "sets": ["lfw"]},
        scheduling={"gang": "volcano", "queue": "npu"},
    )


A1 = job_of("a1", 1, 8, "module", "chip4-node8")
A2 = job_of("a2", 2, 8, "module-910b-8", "chip8-node8")
A3 = job_of("a3", 2, 16, "module-a3-16-super-pod", "chip2-node16-sp", **{"sp-block": "32"})


def table_of(job: ArcFaceTrainingJob, generation: Generation, chips: list[Chips]) -> dict[str, Any]:
    """The completed rank table, each pod on a node of its own."""
    pods = []
    for index, node in enumerate(chips):
        host = f"10.0.0.{11 + index}"
        holder = Holder(name=f"{job.metadata.name}-worker-{index}", uid=f"uid-{index}", node_address=host)
        names = [device_name(chip) for chip in range(job.spec.workers.devices_per_worker)]
        annotations = annotations_of(holder, names, node, generation)
        address = f"10.244.{index}.7"
        pods.append(make_worker(index, address=address, host_address=host, annotations=annotations))
    found = assemble(job.spec, pods, SETTINGS.device_annotation)
    assert found.document is not None, found.problem
    return json.loads(found.document)


def plain_chips(devices: int, node: int) -> Chips:
    return Chips(addresses={chip: f"192.168.{101 + chip}.{2 + node}" for chip in range(devices)})


def super_pod_chips(node: int) -> Chips:
    """Sixteen dies whose network ports have no addresses: the super pod's bus needs none."""
    return Chips(
        addresses={}, super_devices={chip: 0x2400000 + 0x10000 * node + chip for chip in range(16)}, super_pod=0
    )


@pytest.mark.parametrize(
    ("job", "generation", "chips"),
    [
        pytest.param(A1, "7.2", [plain_chips(8, 0)], id="910A 1x8"),
        pytest.param(A2, "7.3", [plain_chips(8, 0), plain_chips(8, 1)], id="A2 2x8"),
        pytest.param(A3, "26.1", [super_pod_chips(0), super_pod_chips(1)], id="A3 super pod 2x16"),
    ],
)
def test_npu_jobs_are_as_checked_by_eye(job: ArcFaceTrainingJob, generation: Generation, chips: list[Chips]) -> None:
    found = [
        build_pod_group(job, training_gang(job), SETTINGS),
        build_worker_pod(job, job.spec.workers.replicas - 1, 0, SETTINGS),
        build_evaluator_pod(job, 1, SETTINGS),
        table_of(job, generation, chips),
    ]
    assert found == list(yaml.safe_load_all((GOLDEN / f"npu-{job.metadata.name}.yaml").read_text()))
