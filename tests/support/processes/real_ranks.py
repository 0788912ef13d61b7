"""Starts real ranks: MindSpore processes joined by its own scheduler, each running a script."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.programs.processes import free_port

DEADLINE_SECONDS = 480
"""Three trainings of four ranks took 193 s on two cores with a load of 30."""


def run_on_ranks(script: Path, world_size: int, *arguments: str) -> None:
    """Run `python script ARGUMENTS` on every rank and wait for all; a failing rank fails the test."""
    with started_ranks(script, world_size, *arguments) as ranks:
        for number, rank in enumerate(ranks):
            output, _ = rank.communicate(timeout=DEADLINE_SECONDS)
            assert rank.returncode == 0, f"rank {number} of {world_size}:\n{output.decode(errors='replace')}"


@contextmanager
def started_ranks(script: Path, world_size: int, *arguments: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """`python script ARGUMENTS` on every rank; SIGKILL for those that have not ended when the block does."""
    environment = os.environ | {
        "MS_WORKER_NUM": str(world_size),
        "MS_SCHED_HOST": "127.0.0.1",
        "MS_SCHED_PORT": str(free_port()),
        "MS_NODE_TIMEOUT": str(DEADLINE_SECONDS),
        "MS_TOPO_TIMEOUT": str(DEADLINE_SECONDS),
        "GLOG_v": "3",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with ExitStack() as stack:

        def start(command: list[str], **extra: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *command],
                    env=environment | extra,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            )
            stack.callback(process.kill)
            return process

        if world_size > 1:
            start(["-m", "arcface_trainer.distributed.scheduler"], MS_ROLE="MS_SCHED")
        role = {"MS_ROLE": "MS_WORKER"} if world_size > 1 else {}
        yield [start([str(script), *arguments], MS_NODE_ID=str(rank), **role) for rank in range(world_size)]
