"""Loaded by each Python that has this folder in PYTHONPATH: ranks write down the images of every step that they take.

A line of IDS_FOLDER/RANK.PROCESS.ids is the step and its images, as the rank trains on them.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

MODULE = "arcface_trainer.data.loader"


class Finder:
    """Finds the module as it would have been found, and changes it once it is loaded."""

    def find_spec(self, name, *_):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            record(module.BatchLoader)

        spec.loader.exec_module = load_and_change
        return spec


def record(loader_type):
    take = loader_type.take
    path = Path(os.environ["IDS_FOLDER"], f"{os.environ.get('MS_NODE_ID', '0')}.{os.getpid()}.ids")

    def take_and_tell(self, step):
        batch, share = take(self, step), self.sampler.batch(step)
        with path.open("a") as lines:
            lines.write(f"{step} {' '.join(map(str, share.indices[share.is_image].tolist()))}\n")
        return batch

    loader_type.take = take_and_tell


if "IDS_FOLDER" in os.environ:
    sys.meta_path.insert(0, Finder())
