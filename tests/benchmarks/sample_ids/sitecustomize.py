"""Loaded by every Python process below `bench_elastic.py`: ranks write down which images they take for which step.

Each has a file `<attempt>-<rank>.ids` in the folder SAMPLE_IDS, with a line for each step.
"""

import os
import sys
from pathlib import Path

if "arcface_trainer.training.rank" in sys.orig_argv and "SAMPLE_IDS" in os.environ:
    from arcface_api.contract.pod_environment import RankIdentity
    from arcface_trainer.data.loader import BatchLoader

    take = BatchLoader.take

    def take_and_tell(loader, step):
        batch, share = take(loader, step), loader.sampler.batch(step)
        ids = share.indices[share.is_image]
        assert batch.image_count == len(ids)
        file = Path(os.environ["SAMPLE_IDS"], f"{RankIdentity.from_environment().attempt}-{loader.sampler.rank}.ids")
        with file.open("a") as lines:
            lines.write(f"{step} {' '.join(map(str, ids.tolist()))}\n")
        return batch

    BatchLoader.take = take_and_tell
