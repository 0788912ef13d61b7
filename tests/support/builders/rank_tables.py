"""Ascend jobs, what the device plugin writes on their pods, and the rank table that is made of it."""

import json
from typing import Any

from arcface_operator.decision.observation import PodView
from arcface_operator.decision.rank_table import RankTable, assemble
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_worker

NAME = "ascend.kubectl.kubernetes.io/ascend-910-configuration"
ADDRESSES = ("10.244.1.7", "10.244.2.9", "10.244.3.5", "10.244.4.3")


def job_of(replicas: int = 2, devices: int = 2, **workers: Any) -> Any:
    fields = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices, **workers}
    return make_job(workers=fields, training={"precision": "fp32"})


def in_super_pods(block: str | None = None, **workers: Any) -> Any:
    annotations = {"sp-block": block} if block is not None else {"huawei.com/schedule_policy": "chip2-node16-sp"}
    return job_of(**workers, template={"metadata": {"annotations": annotations}})


def device(index: int, number: int, **fields: Any) -> dict[str, Any]:
    """A card of the node of pod `index`."""
    address, super_device = f"192.168.{101 + number}.{index + 2}", str(100 * index + number)
    return {"device_id": str(number), "device_ip": address, "super_device_id": super_device, **fields}


def configuration(index: int, ids: tuple[str, ...] = ("0", "1"), **fields: Any) -> dict[str, Any]:
    """The plugin's annotation: by default in the shape of its release 7.2."""
    devices = [device(index, int(name)) for name in ids]
    default = {"pod_name": f"quick-worker-{index}", "server_id": f"10.0.0.1{index + 1}", "super_pod_id": 0}
    return {**default, "devices": devices, **fields}


def member(index: int, written: Any = None, **fields: Any) -> PodView:
    """A rank pod that the plugin has written on."""
    text = written if isinstance(written, str) else json.dumps(written or configuration(index))
    default = {"address": ADDRESSES[index], "host_address": f"10.0.0.1{index + 1}", "annotations": {NAME: text}}
    return make_worker(index, **{**default, **fields})


def table(job: Any, *pods: PodView) -> RankTable:
    return assemble(job.spec, pods, SETTINGS.device_annotation)


def parsed(found: RankTable) -> dict[str, Any]:
    assert found.document is not None
    return json.loads(found.document)


def on_node_0(index: int, ids: tuple[str, ...], **fields: Any) -> PodView:
    """Another pod on the node of pod 0."""
    written = {**configuration(0, ids), "pod_name": f"quick-worker-{index}", **fields}
    return member(index, written, host_address="10.0.0.11", node="node-0")
