"""Checkpoints of a few arrays instead of a training's state, saved on one rank by the trainer's own writer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import LossScale
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from support.builders.training_plan import make_plan

CLASSES, EMBEDDING = 10, 8
PLAN = make_plan(class_count=CLASSES, model=ModelSpec(embedding_size=EMBEDDING))


class ArrayState:
    """Arrays instead of a network: what CheckpointWriter takes from a TrainingState."""

    def __init__(self, value: float = 1.0) -> None:
        self.arrays = {"stem.weight": np.full((2, 3), value, np.float32), "norm.moving_mean": np.zeros(2, np.float32)}

    def backbone(self, _world):
        return self.arrays

    def loss_scale(self):
        return LossScale(scale=1024.0, good_steps=7)

    def momentum(self):
        return {"stem.weight": np.full((2, 3), 0.5, np.float32)}

    def head(self):
        centers = np.arange(CLASSES * EMBEDDING, dtype=np.float32).reshape(CLASSES, EMBEDDING)
        return {"centers": centers, "momentum": -centers}


def make_writer(directory: Path) -> CheckpointWriter:
    """A writer that keeps two checkpoints."""
    settings = RunCheckpoint(directory=str(directory), path="runs/tiny", every_steps=100, keep_last=2)
    return CheckpointWriter(settings, PLAN, World(1, 0))


def saving(directory: Path) -> Callable[..., Any]:
    """Save a state, whose weights are all `value`, after `step` updates."""
    writer = make_writer(directory)
    writer.prepare()
    return lambda step, value=1.0, **verifications: writer.save(ArrayState(value), step, **verifications)


def flip_the_last_bit(path: Path) -> None:
    """Damage a file without changing its size."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
