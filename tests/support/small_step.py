"""A real training step on the smallest network whose images do not depend on each other, in any number of parts.

Its batch normalisation goes by fixed statistics: by those of a batch, a split of it would be another network.
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.data.split import PADDING, BatchSplit
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import DeviceStep, TrainStep
from arcface_trainer.step.votes import StepResult

TOTAL, CLASSES, EMBEDDING = 47, 11, 8
"""Images of a step and their classes; no number of ranks from 2 to 4 divides either."""
MANY, SHARE = 1009, 0.1
"""Classes where a step draws a share of them."""
RATE = 0.1
ONE_TENSOR_EACH = 1
"""Bytes of a bucket that holds a single parameter, however small."""
NEVER_CLIPPED = 1e9


class SmallBackbone(nn.Cell):
    """Means over parts of an image, a layer, a normalisation; not a number where an image is black."""

    def __init__(self, *, is_frozen: bool = True) -> None:
        super().__init__()
        random = np.random.default_rng(2)
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.flatten = nn.Flatten()
        self.dense = nn.Dense(48, EMBEDDING, bias_init="zeros")
        self.dense.weight.set_data(Tensor(random.normal(size=(EMBEDDING, 48)).astype(np.float32)))
        self.norm = nn.BatchNorm1d(EMBEDDING, use_batch_statistics=False if is_frozen else None)

    def construct(self, images: Tensor) -> Tensor:
        pooled = self.flatten(self.pool(images))
        nothing = 0 * ops.log(1 + pooled.mean(axis=1, keep_dims=True))
        return self.norm(self.dense(pooled) + nothing)


def small_step(world: World, micro_batches: int, *, is_frozen: bool = True, is_sampled: bool = False) -> TrainStep:
    """Without decay and clipping, so that momentum after the first step is the gradient."""
    head: Classifier | SampledClassifier = _head(world, CLASSES, LossSpec(scale=4.0))
    if is_sampled:
        whole = _head(world, MANY, LossSpec(scale=4.0, interclass_filter=0.6))
        draw = ClassDraw(3, class_range(MANY, world.size, world.rank), SHARE)
        head = SampledClassifier(whole, draw, TOTAL)
    gradient_step = GradientStep(SmallBackbone(is_frozen=is_frozen), head, world.collectives, ONE_TENSOR_EACH)
    return TrainStep(gradient_step, OptimizerSpec(weight_decay=0.0), NEVER_CLIPPED, micro_batches)


def _head(world: World, class_count: int, loss: LossSpec) -> Classifier:
    classes = class_range(class_count, world.size, world.rank)
    centers = np.random.default_rng(3).normal(size=(class_count, EMBEDDING)).astype(np.float32)
    own = centers[classes.start : classes.start + classes.size]
    return Classifier(loss, classes, own, world.collectives, TOTAL)


def small_batch() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a step, over all ranks."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (TOTAL, 3, 4, 4)).repeat(28, axis=2).repeat(28, axis=3).astype(np.uint8)
    return images, random.integers(0, CLASSES, TOTAL).astype(np.int32)


def split_for(world_size: int, accumulation: int) -> BatchSplit:
    """The step in so many parts at each rank."""
    return BatchSplit(TOTAL, world_size, -(-TOTAL // (world_size * accumulation)))


def launch_share(
    step: DeviceStep, split: BatchSplit, rank: int, images: np.ndarray, labels: np.ndarray, before: int = 0
) -> StepResult:
    """Train on what a rank takes of these images, after so many updates."""
    rows, is_image = split.rows(rank)
    share = np.where(is_image, labels[rows], PADDING).astype(np.int32)
    return step.launch(images[rows], share, RATE, step=before).result()


def gradients(step: TrainStep) -> dict[str, np.ndarray]:
    """Of every weight, after the first step."""
    return step.update.host_momentum(_weights(step))


def state(step: TrainStep) -> dict[str, np.ndarray]:
    """Weights, momentum and statistics."""
    arrays = {name: weight.asnumpy().copy() for name, weight in _weights(step).items()}
    arrays |= {f"momentum of {name}": array for name, array in gradients(step).items()}
    return arrays | step.statistics.by_name(step.statistics.host_vector())


def _weights(step: TrainStep) -> dict[str, Parameter]:
    named = {str(number): weight for number, weight in enumerate(step.gradient_step.weights)}
    return named | {"centers": step.gradient_step.classifier.centers}
