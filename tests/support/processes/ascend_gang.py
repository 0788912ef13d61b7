"""The pods of a generated Ascend job as processes: their own variables and mounts, and a CPU in the place of cards."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from arcface_api.contract.pod_environment import METRICS_PORT, RANK_TABLE_FILE
from arcface_api.contract.rank_table import INITIALIZING
from arcface_operator.decision.rank_table import assemble
from arcface_operator.local.kubelet.kubelet import draw_addresses
from arcface_operator.local.kubelet.process_spec import PodPlacement, ProcessSpec, build_process_spec
from arcface_operator.manifests.config_maps import build_config_map, build_rank_table_map
from arcface_operator.manifests.metadata import rank_table_name
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from arcface_trainer.device import DEVICE_TARGET
from support.builders.jobs import make_job
from support.builders.views import NOW, make_worker
from support.processes.trainings import children, tells_step
from support.waiting import wait_until

ARCFACE = Path(sys.executable).with_name("arcface")
PODS, DEVICES = 2, 2
DEADLINE_SECONDS = 600
"""Four ranks compile their step twice, on two cores that others use, too."""
SETTINGS = Settings()
TINY = {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16}
TRAINING = {"epochs": 3, "batchSize": 2}
WORKERS = {"accelerator": "ascend", "replicas": PODS, "devicesPerWorker": DEVICES}


class AscendGang:
    """A job of two pods with two cards each, on two nodes; its pods start with a table that is not complete."""

    def __init__(self, folder: Path, images: Path, **spec) -> None:
        self.folder = folder
        self.job = make_job(
            "npu",
            model=TINY,
            **{"training": TRAINING, "workers": WORKERS, **spec},
        )
        self.addresses = draw_addresses(PODS, {METRICS_PORT, METRICS_PORT + 1, 8118})
        self.claims = {"faces": images, "checkpoints": folder / "checkpoints"}
        self.checkpoints = folder / "checkpoints" / "npu"
        (folder / "checkpoints").mkdir(exist_ok=True)

    def table(self) -> str:
        """The operator's table of these pods, from annotations as the device plugin (7.2) writes them."""
        views = [
            make_worker(index, address=address, annotations={SETTINGS.device_annotation: configuration(index)})
            for index, address in enumerate(self.addresses)
        ]
        document = assemble(self.job.spec, views, SETTINGS.device_annotation).document
        assert document is not None
        return document

    def pod(self, index: int, wrapper: tuple[str, ...] = (), **variables: str) -> "AscendPod":
        """Start a pod, by way of another command where one is given."""
        maps = {"npu-config": build_config_map(self.job)}
        maps[rank_table_name("npu")] = build_rank_table_map(self.job, INITIALIZING, NOW, SETTINGS)
        placement = PodPlacement(
            folder=self.folder / f"npu-worker-{index}",
            address=self.addresses[index],
            hosts={},  # nothing may depend on names
            claims=self.claims,
            config_maps=maps,
        )
        manifest = build_worker_pod(self.job, index, 0, SETTINGS)
        return AscendPod(build_process_spec(manifest, placement), self.addresses[index], wrapper, variables)


class AscendPod:
    """One pod: nothing of this process's environment but the path of programs reaches it."""

    def __init__(self, spec: ProcessSpec, address: str, wrapper: tuple[str, ...], variables: Mapping[str, str]) -> None:
        self.spec, self.address = spec, address
        for folder in spec.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in spec.files.items():
            path.write_text(text)
        spec.termination_log.unlink(missing_ok=True)
        self.log = spec.termination_log.with_suffix(".log")
        environment = {"PATH": os.environ["PATH"], **spec.environment, DEVICE_TARGET: "CPU", **variables}
        with self.log.open("wb") as log:
            command = [*wrapper, ARCFACE, *spec.arguments[1:]]
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def show(self, table: str) -> None:
        """Let the kubelet show another rank table, at once as it does."""
        path = next(path for path in self.spec.files if path.name == RANK_TABLE_FILE)
        other = path.with_suffix(".new")
        other.write_text(table)
        other.rename(path)

    def wait_for_log(self, text: str, seconds: float = 120) -> None:
        """Until the pod has said something."""

        def is_said() -> bool:
            assert self.process.poll() is None, self.output()
            return text in self.output()

        wait_until(is_said, seconds)

    def wait_for_step(self, step: int) -> None:
        """Until rank 0 tells of this step."""

        def has_come() -> bool:
            assert self.process.poll() is None, self.output()
            return tells_step(f"{self.address}:{METRICS_PORT}", step)

        wait_until(has_come, DEADLINE_SECONDS)

    def ranks(self) -> dict[str, dict[str, str]]:
        """Variables of the pod's processes that MindSpore runs in, by role and number."""
        found = {}
        for child in children(self.process.pid):
            text = Path(f"/proc/{child}/environ").read_bytes().decode()
            variables = dict(item.split("=", 1) for item in text.split("\0") if item)
            if "MS_ROLE" in variables:
                found[f"{variables['MS_ROLE']} {variables['MS_NODE_ID']}"] = variables
        return found

    def wait(self) -> int:
        """Exit status."""
        return self.process.wait(timeout=DEADLINE_SECONDS)

    def output(self) -> str:
        """What the pod has printed."""
        return self.log.read_text(errors="replace")

    def report(self) -> dict:
        """The JSON of the termination message."""
        return json.loads(self.spec.termination_log.read_text())


def configuration(pod: int) -> str:
    """The plugin's annotation: each pod has cards 0 and 1 of a node of its own."""
    devices = [{"device_id": str(n), "device_ip": f"192.168.{100 + n}.{pod + 1}"} for n in range(DEVICES)]
    return json.dumps({"pod_name": f"npu-worker-{pod}", "server_id": f"192.168.0.{pod + 1}", "devices": devices})
