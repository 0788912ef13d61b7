"""Run by every rank of test_any_world_size: the training of a run configuration, its sample ids written down.

`resized_run_of_a_rank.py CONFIG FOLDER`: FOLDER gets a line for each step that the rank takes images for. Where there
is a folder for states in memory they are kept as often as can be.
"""

import os
import sys
from pathlib import Path

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunConfig
from arcface_trainer.checkpoint import checkpointing
from arcface_trainer.training.rank import build_training_loop
from support.waiting import wait_until


def main(config_path: Path, folder: Path) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    checkpointing.COPY_SECONDS = checkpointing.COPY_PATIENCE = 0.0
    loop = build_training_loop(RunConfig.read(config_path), RankIdentity.from_environment(), rank)
    take = loop.loader.take
    with (folder / f"{size}-{rank}.ids").open("a", buffering=1) as lines:

        def take_and_tell(step: int):
            batch, share = take(step), loop.loader.sampler.batch(step)
            ids = share.indices[share.is_image]
            assert batch.image_count == len(ids)
            lines.write(f"{step} {' '.join(map(str, ids.tolist()))}\n")
            return batch

        loop.loader.take = take_and_tell
        loop.run()
    leave_together(folder, size, rank)


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more, and not through MindSpore's teardown."""
    (folder / f"{size}-{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob(f"{size}-*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]), Path(sys.argv[2]))
