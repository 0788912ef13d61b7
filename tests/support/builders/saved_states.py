"""Checkpoints of a few arrays instead of a training's state, saved on one rank by the trainer's own writer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import MANIFEST_FILE, ClassRange, LossScale
from arcface_faces.checkpoint_writing import write_manifest
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from support.builders.training_plan import make_plan

CLASSES, EMBEDDING = 10, 8
ALL = ClassRange(0, CLASSES)
PLAN = make_plan(class_count=CLASSES, model=ModelSpec(embedding_size=EMBEDDING))


class ArrayState:
    """Arrays instead of a network: what CheckpointWriter takes from a TrainingState."""

    def __init__(self, value: float = 1.0, classes: ClassRange = ALL) -> None:
        self.classes = classes
        self.arrays = {"stem.weight": np.full((2, 3), value, np.float32), "norm.moving_mean": np.zeros(2, np.float32)}

    def backbone(self, _world):
        return self.arrays

    def loss_scale(self):
        return LossScale(scale=1024.0, good_steps=7)

    def momentum(self):
        return {"stem.weight": np.full((2, 3), 0.5, np.float32)}

    def begin_anew(self, _plan, _world):
        self.arrays["stem.weight"] = np.zeros((2, 3), np.float32)

    def head(self):
        rows = slice(self.classes.start, self.classes.start + self.classes.size)
        centers = np.arange(CLASSES * EMBEDDING, dtype=np.float32).reshape(CLASSES, EMBEDDING)[rows]
        return {"centers": centers, "momentum": -centers}


def make_writer(directory: Path, world: Any = None, **facts: Any) -> CheckpointWriter:
    """A writer that keeps two checkpoints, of a rank that is alone unless it is told of a world."""
    settings = RunCheckpoint(directory=str(directory), path="runs/tiny", every_steps=100, keep_last=2)
    return CheckpointWriter(settings, PLAN, world or World(1, 0), **facts)


def saving(directory: Path) -> Callable[..., Any]:
    """Save a state, whose weights are all `value`, after `step` updates."""
    saver = Saver(make_writer(directory))
    saver.writer.prepare()

    def save(step: int, value: float = 1.0, **found: Any) -> Any:
        saver.begin(saver.writer.snapshot(ArrayState(value), step, Verifications(**found)))
        result = saver.finish()
        if result.failure is not None:
            raise result.failure
        return result.status

    return save


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Another manifest in its place, as a release would have written it: with a checksum of its own."""
    document = json.loads((folder / MANIFEST_FILE).read_bytes())
    document.pop("checksum")
    change(document)
    write_manifest(folder, json.dumps(document))


def flip_the_last_bit(path: Path) -> None:
    """Damage a file without changing its size."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
