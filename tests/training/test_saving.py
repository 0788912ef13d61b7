"""Two real ranks that save behind their steps, one of them on a disk that refuses for a while."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from arcface_faces.checkpoint import newest_complete, read_manifest
from support.processes.trainings import DEADLINE_SECONDS, TrainingPod, write_image_folder, write_run_config
from support.waiting import wait_until

REFUSED_BYTES = 64
"""Any file of a checkpoint is longer."""
FAILURES = "arcface_train_checkpoint_failures_total"


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[TrainingPod]:
    config = write_run_config(
        tmp_path / "run.json",
        write_image_folder(tmp_path / "images"),
        tmp_path / "checkpoints",
        training={"epochs": 1000, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
        checkpoint={"directory": str(tmp_path / "checkpoints"), "everySteps": 2, "keepLast": 2},
    )
    with TrainingPod(config) as pod:
        pod.wait_for_step(1)
        yield pod


def limit_files(process: int, size: int) -> None:
    """Let the kernel refuse to write beyond this size, in this process only."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def failures(pod: TrainingPod, rank: int) -> float:
    text = httpx.get(f"http://127.0.0.1:{pod.port + rank}/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(FAILURES + "{"))


def saved(folder: Path) -> int:
    newest = newest_complete(folder)
    return -1 if newest is None else read_manifest(newest).step


def test_a_rank_whose_disk_refuses_costs_checkpoints_and_not_the_training(tmp_path: Path, pod: TrainingPod) -> None:
    broken, folder = pod.process_of(rank=1), tmp_path / "checkpoints"
    limit_files(broken, REFUSED_BYTES)
    wait_until(lambda: failures(pod, rank=1) >= 2, DEADLINE_SECONDS)
    assert failures(pod, rank=0) == 0
    before = saved(folder)
    limit_files(broken, resource.RLIM_INFINITY)
    wait_until(lambda: saved(folder) > before, DEADLINE_SECONDS)
    os.kill(pod.process.pid, signal.SIGTERM)
    status, output = pod.wait()
    assert status == 143, output
    assert "File too large" in output
    assert saved(folder) == pod.report()["progress"]["step"]
    assert [path.name for path in folder.iterdir() if not path.name.startswith("step-")] == ["history.jsonl"]


def test_a_stop_that_a_disk_refuses_to_save_is_worth_a_retry(tmp_path: Path, pod: TrainingPod) -> None:
    wait_until(lambda: saved(tmp_path / "checkpoints") > 0, DEADLINE_SECONDS)
    limit_files(pod.process_of(rank=1), REFUSED_BYTES)
    os.kill(pod.process.pid, signal.SIGTERM)
    status, output = pod.wait()
    assert status == 1, output
    assert "File too large" in output
    assert pod.report()["failure"]["reason"] in {"Error", "RankDied"}, "the broken rank cannot write its report either"
    assert saved(tmp_path / "checkpoints") > 0
