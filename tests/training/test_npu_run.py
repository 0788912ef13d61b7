"""`arcface run` with a job made for a cluster of Ascend nodes, on one server: trains, stops, resumes, evaluates.

What is real: the job with its default rendezvous, the pods' processes, launcher, MindSpore's scheduler and ranks, the
evaluator with a process for each of two cards. What is not: the device files, and a CPU computes in the cards' place.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arcface_faces.checkpoint import newest_complete, read_manifest
from arcface_operator.local.kubelet.orphans import marked
from arcface_trainer.device import DEVICE_TARGET
from support.builders.jobs import job_document
from support.builders.verification_set import encoded_image, write_set
from support.fakes.ascend_node import write_node, write_process
from support.processes.trainings import write_image_folder
from support.waiting import wait_until

RUN = """
import sys
from pathlib import Path
from rich.console import Console
from arcface_api.errors import ArcFaceError
from arcface_operator.local.runner import LocalRun
from arcface_operator.preflight.job_file import read_job
from arcface_operator.settings import Settings

folder = Path.cwd()
claims = {name: folder / name for name in ("faces", "sets", "checkpoints")}
try:
    run = LocalRun(read_job(Path("job.yaml")), Settings(), claims, root=folder / "root")
    run.run(folder / "work", Console(width=120), Console(stderr=True))
except ArcFaceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
TOTAL_STEPS = 2 * (4 * 12 // 4)
SPEC = {
    "model": {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
    "training": {"epochs": 2, "batchSize": 2, "precision": "fp32"},
    "workers": {
        "accelerator": "ascend",
        "devicesPerWorker": 2,
        "template": {"spec": {"nodeSelector": {"accelerator": "huawei-Ascend910"}, "hostNetwork": True}},
    },
    "checkpoint": {"claimName": "checkpoints", "everySteps": 4},
    "evaluation": {
        "claimName": "sets",
        "sets": ["noise"],
        "resources": {"limits": {"huawei.com/Ascend910": 2}},
    },
}
SHELL = {"RANK_TABLE_FILE": "/none/hccl.json", "RANK_ID": "7", "RANK_SIZE": "8", "DEVICE_ID": "7"}
"""What a script for eight cards leaves in a shell."""
DEADLINE_SECONDS = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the job, its images, and a server of four cards of which another user has one."""
    folder = tmp_path_factory.mktemp("server")
    write_image_folder(folder / "faces")
    (folder / "sets").mkdir()
    write_set(folder / "sets" / "noise.bin", [encoded_image(seed) for seed in range(22)], [True, False] * 5 + [True])
    (folder / "job.yaml").write_text(yaml.safe_dump(job_document("npu", **SPEC)))
    write_process(write_node(folder / "root", 4), 4711, "/dev/davinci1")
    return folder


def start(server: Path, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, DEVICE_TARGET: "CPU", **SHELL, "MS_ROLE": "MS_WORKER", "MS_SCHED_HOST": "10.9.8.7"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=server,
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rank_variables(pods: Path) -> list[dict[str, str]]:
    """Variables of the ranks that run, in their order."""
    found = []
    for process in marked(pods):
        text = Path(f"/proc/{process}/environ").read_bytes().decode()
        variables = dict(item.split("=", 1) for item in text.split("\0") if item)
        command = Path(f"/proc/{process}/cmdline").read_text()
        if "arcface_trainer.training.rank" in command and not command.endswith("standby\0"):
            found.append(variables)
    return sorted(found, key=lambda variables: variables["MS_NODE_ID"])


def test_a_clusters_job_runs_on_one_server(server: Path) -> None:
    checkpoints, pods = server / "checkpoints" / "npu", server / "work" / "pods"
    with start(server) as process:
        wait_until(lambda: bool(list(checkpoints.glob("step-*")) or process.poll() is not None), DEADLINE_SECONDS)
        ranks = rank_variables(pods)
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 143, messages
    assert "on the cards 0, 2" in messages
    assert [variables["DEVICE_ID"] for variables in ranks] == ["0", "1"]
    for variables in ranks:
        assert variables["ASCEND_RT_VISIBLE_DEVICES"] == "0,2"
        assert (variables["MS_ROLE"], variables["MS_WORKER_NUM"]) == ("MS_WORKER", "2")
        assert variables["MS_SCHED_HOST"] == variables["POD_IP"]
        assert not {"RANK_TABLE_FILE", "RANK_ID", "RANK_SIZE"} & set(variables)
    stopped_at = read_manifest(newest_complete(checkpoints)).step
    assert f"saved at step {stopped_at}; the same command resumes" in messages
    with start(server) as process:
        output, messages = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, messages
    report = json.loads((pods / "npu-worker-0" / "termination-log").read_text())
    assert report["checkpoint"]["resumedFromStep"] == stopped_at
    assert read_manifest(newest_complete(checkpoints)).step == TOTAL_STEPS
    assert "noise" in output
    assert marked(pods) == []


def test_a_card_in_use_is_told_before_anything_runs(server: Path) -> None:
    with start(server, ASCEND_RT_VISIBLE_DEVICES="0,1") as process:
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert messages == (
        "workers: the job takes 2 cards at once, 1 are free: card 1 (/dev/davinci1) is in use by process 4711; end "
        "what uses them or run again later\n"
    )
