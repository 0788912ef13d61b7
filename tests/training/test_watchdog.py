"""Two real ranks, one of which is stopped in the middle of its steps: its peer waits for it inside a collective."""

import os
import signal
from pathlib import Path

from support.processes.trainings import TrainingPod, write_image_folder, write_run_config

STALL_SECONDS = 12
"""Far longer than any step, far shorter than MindSpore's patience with a silent rank, 60 s."""


def test_a_rank_that_stands_still_is_named_with_its_state_and_the_pod_is_worth_a_retry(tmp_path: Path) -> None:
    config = write_run_config(
        tmp_path / "run.json",
        write_image_folder(tmp_path / "images"),
        tmp_path / "checkpoints",
        training={"epochs": 10_000, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
        stallSeconds=STALL_SECONDS,
    )
    with TrainingPod(config) as pod:
        pod.wait_for_step(3)
        os.kill(pod.process_of(rank=1), signal.SIGSTOP)
        status, output = pod.wait()
        failure = pod.report()["failure"]
    assert status == 1, output
    assert (failure["reason"], failure["rank"], failure["exitCode"]) == ("Stalled", 1, 1)
    assert failure["message"].startswith("rank 1 makes no progress: for ")
    assert failure["message"].endswith(": its process is stopped")
