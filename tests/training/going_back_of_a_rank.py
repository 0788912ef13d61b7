"""Run by every rank of test_going_back: a training in which one rank's running statistics are lost twice.

`going_back_of_a_rank.py CONFIG FOLDER STEP STEP`: before it launches these steps the last rank loses them, as a bit of
its memory may flip; they stay lost, since a step that finds no numbers changes nothing. FOLDER gets the rank's report,
its exit status, and a line for each step with its number, its learning rate and the ids of its images.
"""

import os
import sys
from pathlib import Path

import numpy as np
from mindspore import Tensor

from arcface_trainer.training import rank as rank_process
from support.waiting import wait_until


def main(config_path: Path, folder: Path, losses: list[int]) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    build = rank_process.build_training_loop

    def build_and_watch(*given):
        loop = build(*given)
        watch(loop, folder / f"{rank}.steps", losses if rank == size - 1 else [])
        return loop

    rank_process.build_training_loop = build_and_watch
    status = rank_process._main(config_path, folder / f"{rank}.json", rank)
    (folder / f"{rank}.status").write_text(str(status))
    leave_together(folder, size, rank)


def watch(loop, file: Path, losses: list[int]) -> None:
    take, launch, ids = loop.loader.take, loop.train_step.launch, []
    saver = loop.checkpointing.saver

    def take_and_note(number: int):
        if saver.is_busy:
            wait_until(saver._stage.work.done, seconds=60)  # else a slow disk would leave saves out
        share = loop.loader.sampler.batch(number)
        ids[:] = share.indices[share.is_image].tolist()
        return take(number)

    def launch_and_tell(images, labels, rate, *given, step: int):
        with file.open("a") as lines:
            lines.write(f"{step} {rate!r} {' '.join(map(str, ids))}\n")
        if step in losses:
            losses.remove(step)
            kept = loop.train_step.statistics.kept
            kept.set_data(Tensor(np.full(kept.shape, np.nan, np.float32)))
        return launch(images, labels, rate, *given, step=step)

    loop.loader.take, loop.train_step.launch = take_and_note, launch_and_tell


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more, and not through MindSpore's teardown."""
    (folder / f"{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob("*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]), Path(sys.argv[2]), list(map(int, sys.argv[3:])))
