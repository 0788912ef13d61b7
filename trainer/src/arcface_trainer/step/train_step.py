"""One training step as one graph: gradients of backbone and head, clipping, update.

One graph and not two: a tuple of a graph's outputs handed to another graph takes three times as long as the gradients
themselves (42 against 10 ms an image in one run; MindSpore 2.10 on one CPU core, IResNet-18 at width 0.25, batch 32).
The host sees six numbers a step and one for each rank.
"""

import math
from dataclasses import dataclass

import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from arcface_api.resource.spec import OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.gradient_step import GradientStep
from arcface_trainer.step.momentum_update import MomentumUpdate, scalar


@dataclass(frozen=True, slots=True)
class StepVotes:
    """What a rank, or any rank, wants after this step.

    They travel with the gradients, as N = 2 + world_size float32 numbers `votes_N` that are summed over ranks: 1 to
    stop, 1 to save, and the seconds that each rank waited for its images, at the place of its number.
    """

    stop: bool = False
    save: bool = False


NO_VOTES = StepVotes()


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the host learns from one step; the same on every rank but for the embeddings' length."""

    loss: float
    """Mean over the images of all ranks."""
    gradient_norm: float
    """L2 norm of the backbone's gradient before clipping."""
    embedding_norm: float
    """Mean length of this rank's embeddings."""
    is_applied: bool
    """False when loss or gradient were not finite and the weights stayed as they were."""
    votes: StepVotes
    """Whether any rank votes to stop or save: all ranks learn it at the same step."""
    waits: tuple[float, ...]
    """Seconds that each rank waited for its images."""


class TrainStep(nn.Cell):
    """Forward, backward, clip, update."""

    def __init__(self, gradient_step: GradientStep, optimizer: OptimizerSpec, clip_norm: float) -> None:
        super().__init__()
        self.gradient_step = gradient_step
        self.update = MomentumUpdate([*gradient_step.weights, gradient_step.classifier.centers], optimizer, clip_norm)
        self.set_train()

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """The summary of `GradientStep`, after the update."""
        outputs = self.gradient_step(images, labels_b, votes_N)
        summary = outputs[0]
        self.update(rate, summary, outputs[1:])
        return summary

    def run(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int32],
        rate: float,
        votes: StepVotes = NO_VOTES,
        wait: float = 0.0,
    ) -> StepResult:
        """Train on this rank's share of a batch, which it waited for; all ranks must call together."""
        ranks = self.gradient_step.collectives
        waits = [wait if number == ranks.rank else 0.0 for number in range(ranks.world_size)]
        votes_N = Tensor([float(votes.stop), float(votes.save), *waits], mindspore.float32)
        summary = self(Tensor(images), Tensor(labels), votes_N, scalar(rate))
        loss, length, squared_norm, stop, save, *waits, centers_squared_norm = summary.asnumpy().tolist()
        is_finite = all(math.isfinite(number) for number in (loss, squared_norm, centers_squared_norm))
        norm = math.sqrt(squared_norm) if is_finite else math.nan
        return StepResult(loss, norm, length, is_finite, StepVotes(stop > 0, save > 0), tuple(waits))


def build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """The step of a network and a head with fresh weights, the same for any number of ranks."""
    mindspore.set_seed(plan.seed)
    backbone = build_backbone(plan.model)
    classes = class_range(plan.class_count, world.size, world.rank)
    centers = initial_centers(classes, plan.model.embedding_size, plan.seed)
    classifier = Classifier(plan.loss, classes, centers, world.collectives)
    return TrainStep(GradientStep(backbone, classifier, world.collectives), training.optimizer, training.clip_norm)
