"""A small network learns in float16 as it does in float32, from the same weights and the same images."""

import numpy as np
import pytest

from arcface_api.resource.spec import LossSpec, ModelSpec, OptimizerSpec, TrainingSpec
from arcface_trainer.distributed.collectives import World
from arcface_trainer.step.train_step import TrainStep, build_train_step
from arcface_trainer.step.votes import StepResult
from support.builders.training_plan import make_plan

pytestmark = pytest.mark.usefixtures("graph_mode")
MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)
CLASSES, BATCH, STEPS, RATE = 8, 16, 40, 0.002
NOISE = 80.0
"""Standard deviation of what makes images of one class differ, of 255."""
MOST_SKIPS = 16
"""So many halvings take the loss scale from its start to 1."""
BAND = 0.01
"""How far the curves may be apart, as a share of the first loss; 0.002 is measured."""


def batches():
    """Images of classes, each a coarse pattern of its own under noise."""
    random = np.random.default_rng(3)
    patterns = random.integers(0, 256, (CLASSES, 3, 7, 7)).repeat(16, axis=2).repeat(16, axis=3)
    for _ in range(STEPS):
        labels = random.integers(0, CLASSES, BATCH).astype(np.int32)
        images = patterns[labels] + random.normal(0, NOISE, (BATCH, 3, 112, 112))
        yield np.clip(images, 0, 255).astype(np.uint8), labels


def losses(precision):
    plan = make_plan(
        model=MODEL,
        loss=LossSpec(scale=16.0, margin=0.2),
        precision=precision,
        class_count=CLASSES,
        seed=4,
        total_batch_size=BATCH,
    )
    step = build_train_step(plan, TrainingSpec(optimizer=OptimizerSpec()), World(1, 0))
    return np.array([applied(step, *batch).loss for batch in batches()])


def applied(step: TrainStep, images, labels) -> StepResult:
    """A step that counts: one that overflows changes nothing but the loss scale, and is taken again."""
    for _ in range(MOST_SKIPS + 1):
        result = step.launch(images, labels, RATE).result()
        if result.is_applied:
            return result
    raise AssertionError(f"{MOST_SKIPS + 1} steps in a row overflow: {result}")


def test_float16_learns_as_float32_does():
    half, full = losses("fp16"), losses("fp32")
    assert (half != full).any()  # the trunk is rounded at all
    for curve in (half, full):
        assert curve[-5:].mean() < 0.5 * curve[0]
    assert np.abs(half - full).max() < BAND * full[0]
