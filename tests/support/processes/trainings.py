"""Small real trainings: images of noise, a run configuration, and the pod's own command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np

from support.waiting import wait_until
from testbed.programs.processes import free_port

ARCFACE = Path(sys.executable).with_name("arcface")
DEADLINE_SECONDS = 600
"""Ranks compile their step, on two cores that others may use, too."""


def write_image_folder(folder: Path, identities: int = 4, each: int = 12) -> Path:
    """Noise images, one subfolder per identity."""
    random = np.random.default_rng(0)
    for identity in range(identities):
        (folder / f"person-{identity}").mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (14, 14, 3), np.uint8)
            image = cv2.resize(pixels, (112, 112), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f"person-{identity}" / f"{number:03d}.png"), image)
    return folder


def write_run_config(path: Path, data: Path, checkpoints: Path, **changes) -> Path:
    """JSON of a RunConfig for a tiny network; `changes` replace whole sections."""
    config = {
        "job": "tiny",
        "namespace": "default",
        "specHash": "0" * 64,
        "model": {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
        "loss": {"scale": 16.0, "margin": 0.2},
        "data": {"directory": str(data), "minImagesPerIdentity": 1, "augmentation": "flip"},
        "training": {"epochs": 3, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
        "ranks": {"worldSize": 2, "perPod": 2, "accelerator": "cpu", "rendezvous": "dynamic"},
        "checkpoint": {"directory": str(checkpoints), "everySteps": 4, "keepLast": 3},
        "metricsPort": free_port(),
    }
    path.write_text(json.dumps(config | changes))
    return path


def tells_step(address: str, step: int) -> bool:
    """Whether rank 0 answers and is as far; until the ranks have met it answers without progress."""
    try:
        progress = httpx.get(f"http://{address}/progress").json().get("progress")
    except httpx.TransportError:
        return False
    return progress is not None and progress["step"] >= step


def children(process: int) -> list[int]:
    """Children of a process, from any of its threads."""
    texts = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return [int(number) for text in texts for number in text.split()]


class TrainingPod:
    """`arcface train` as a worker pod runs it."""

    def __init__(self, config: Path) -> None:
        content = json.loads(config.read_text())
        self.port = content["metricsPort"]
        self.termination_log = config.with_suffix(".termination")
        world_size = content["ranks"]["worldSize"]
        self.process = subprocess.Popen(
            [ARCFACE, "train", "--config", config, "--termination-log", self.termination_log],
            env=os.environ
            | {
                "POD_IP": "127.0.0.1",
                "MS_SCHED_PORT": str(free_port()),
                "MS_WORKER_NUM": str(world_size),
                "MS_NODE_ID": "0",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def process_of(self, rank: int) -> int:
        """Process of a rank; the scheduler has the number of a rank, too."""
        for child in children(self.process.pid):
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if {b"MS_ROLE=MS_WORKER", b"MS_NODE_ID=%d" % rank} <= set(variables):
                return child
        raise AssertionError(f"no rank {rank}")

    def wait(self) -> tuple[int, str]:
        """Exit status and output."""
        output, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, output.decode(errors="replace")

    def wait_for_step(self, step: int) -> None:
        """Until rank 0 tells of this step."""

        def has_come() -> bool:
            assert self.process.poll() is None, self.wait()
            return tells_step(f"127.0.0.1:{self.port}", step)

        wait_until(has_come, DEADLINE_SECONDS)

    def report(self) -> dict:
        """The JSON of the termination message."""
        return json.loads(self.termination_log.read_text())
