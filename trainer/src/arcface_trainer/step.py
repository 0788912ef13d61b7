"""One training step as one graph: gradients of backbone and head, clipping, update. Imports head, network, distributed.

One graph and not two: a tuple of a graph's outputs handed to another graph takes three times as long as the gradients
themselves (42 against 10 ms an image in one run; MindSpore 2.10 on one CPU core, IResNet-18 at width 0.25, batch 32).
The host sees six numbers a step and one for each rank, and the ranks sum what they found in one message.

Tensor suffixes: b images of this rank, D embedding size, P parameters of the backbone laid end to end,
N votes of a rank (see `StepVotes`).
"""

import math
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, float32, nn, ops, set_seed
from numpy.typing import NDArray

from arcface_api.resource.spec import OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.distributed.collectives import Collectives, World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone, preprocessed
from arcface_trainer.network.layers import trunk_cast
from arcface_trainer.plan import TrainingPlan

SMALLEST_NORM = 1e-12


class MomentumUpdate(nn.Cell):
    """SGD with momentum: v = momentum*v + (factor*g + decay*w); w = w - rate*v.

    Where the numbers are not finite, weights and momentum stay what they were.
    """

    def __init__(self, weights: list[Parameter], optimizer: OptimizerSpec, clip_norm: float) -> None:
        super().__init__()
        self.weights = ParameterTuple(weights)
        self.velocities = ParameterTuple([_zeros_like(weight) for weight in weights])
        self.momentum = optimizer.momentum
        self.decay = optimizer.weight_decay
        self.clip_norm = clip_norm
        self.apply = ops.ApplyMomentum()

    def construct(self, rate: Tensor, summary: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """Apply one update; the backbone's gradients are clipped, the last one (centres) is taken as it is.

        Returns:
            Whether the numbers were finite, on every rank.
        """
        squared_norm = summary[2]
        # Not the second number: it is this rank's own, and all ranks must come to the same answer.
        is_finite = ops.logical_and(ops.isfinite(summary[0]), ops.isfinite(summary[2:]).all())
        factor = ops.clamp(self.clip_norm / ops.sqrt(ops.clamp(squared_norm, min=SMALLEST_NORM)), max=1.0)
        # v = 1*v + 0 and w = w - 0*v leave both alone.
        momentum = ops.where(is_finite, _scalar(self.momentum), _scalar(1.0))
        rate = ops.where(is_finite, rate, _scalar(0.0))
        last = len(self.weights) - 1
        for index in range(len(self.weights)):
            weight = self.weights[index]
            gradient = gradients[index] if index == last else gradients[index] * factor
            change = gradient + self.decay * weight
            change = ops.where(is_finite, change, _scalar(0.0))
            self.apply(weight, self.velocities[index], rate, change, momentum)
        return is_finite


def _zeros_like(weight: Parameter) -> Parameter:
    """Momentum slot of a parameter."""
    return Parameter(Tensor(np.zeros(weight.shape, np.float32)), name=f"momentum.{weight.name}", requires_grad=False)


def _scalar(value: float) -> Tensor:
    """Zero-dimensional float32 tensor, so that a changing value does not compile a new graph."""
    return Tensor(value, float32)


class GradientStep(nn.Cell):
    """Loss, gradients and their norms; the backbone's gradients are summed over ranks."""

    def __init__(self, backbone: nn.Cell, classifier: Classifier, collectives: Collectives) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.collectives = collectives
        self.weights = ParameterTuple(backbone.trainable_params())

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor) -> tuple[Tensor, ...]:
        """A summary (4+N,), then one gradient a parameter of the backbone, then the gradient of the centres.

        The summary holds loss, mean embedding length, squared norm of the backbone's gradient, and, added up over all
        ranks, their votes and the squared norms of their centres' gradients.

        Args:
            images: uint8 RGB (b, 3, 112, 112) as decoded.
            labels_b: int32 (b,).
            votes_N: float32 (N,), see `StepVotes`.
        """
        embeddings_bD, backward = ops.vjp(self.backbone, preprocessed(images), weights=self.weights)
        loss, d_embeddings_bD, d_centers = self.classifier(embeddings_bD, labels_b)
        _, gradients = backward(d_embeddings_bD)
        centers_squared_norm = (d_centers * d_centers).sum().reshape((1,))
        gradients, shared = self._summed(gradients, ops.concat((votes_N, centers_squared_norm)))
        squared_norm = Tensor(0.0, float32)
        for gradient in gradients:
            squared_norm = squared_norm + (gradient * gradient).sum()
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean()
        summary = ops.concat((ops.stack((loss, length, squared_norm)), shared))
        return (summary, *gradients, d_centers)

    def _summed(self, gradients: tuple[Tensor, ...], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Sum over ranks in one message: the loss is a mean over all ranks already, so nothing is averaged."""
        if self.collectives.is_alone:
            return gradients, shared
        flat = [gradient.reshape(-1) for gradient in gradients]
        joined_P = self.collectives.all_sum(ops.concat((*flat, shared)))
        parts, offset = [], 0
        for gradient in gradients:
            parts.append(joined_P[offset : offset + gradient.size].reshape(gradient.shape))
            offset += gradient.size
        return tuple(parts), joined_P[offset:]


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
        votes_N = Tensor([float(votes.stop), float(votes.save), *waits], float32)
        summary = self(Tensor(images), Tensor(labels), votes_N, _scalar(rate))
        loss, length, squared_norm, stop, save, *waits, centers_squared_norm = summary.asnumpy().tolist()
        is_finite = all(math.isfinite(number) for number in (loss, squared_norm, centers_squared_norm))
        return StepResult(loss, length, is_finite, StepVotes(stop > 0, save > 0), tuple(waits))


def build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """The step of a network and a head with fresh weights, the same for any number of ranks."""
    set_seed(plan.seed)
    backbone = build_backbone(plan.model, trunk_cast(plan.precision, world.chip))
    classes = class_range(plan.class_count, world.size, world.rank)
    centers = initial_centers(classes, plan.model.embedding_size, plan.seed)
    classifier = Classifier(plan.loss, classes, centers, world.collectives)
    return TrainStep(GradientStep(backbone, classifier, world.collectives), training.optimizer, training.clip_norm)
