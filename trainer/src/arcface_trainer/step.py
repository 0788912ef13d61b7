"""One training step in two graphs: gradients of backbone and head, then the update.

Between the graphs the host sees the loss and the gradient's norm and decides on clipping or skipping. That costs one
scalar a step and keeps both decisions in plain Python.

Tensor suffixes: b pictures of this rank, D embedding size, P parameters of the backbone laid end to end.
"""

import math
from dataclasses import dataclass

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from arcface_api.spec import OptimizerSpec
from arcface_trainer.backbone_input import PIXEL_MEAN, PIXEL_SCALE
from arcface_trainer.classifier import Classifier
from arcface_trainer.collectives import Collectives

SMALLEST_NORM = 1e-12


def preprocessed(images: Tensor) -> Tensor:
    """(x - 127.5) / 127.5 in float32: the normalisation that checkpoints are written with."""
    return (images.astype(mindspore.float32) - PIXEL_MEAN) / PIXEL_SCALE


class GradientStep(nn.Cell):
    """Loss, gradients and their norm; the backbone's gradients are summed over ranks."""

    def __init__(self, backbone: nn.Cell, classifier: Classifier, collectives: Collectives) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.collectives = collectives
        self.weights = ParameterTuple(backbone.trainable_params())

    def construct(self, images: Tensor, labels_b: Tensor, wishes_2: Tensor) -> tuple[Tensor, ...]:
        """A summary (5,), then one gradient a parameter of the backbone, then the gradient of the centres.

        The summary holds loss, mean embedding length, squared norm of the backbone's gradient, and the wishes of all
        ranks added up.

        Args:
            images: uint8 RGB (b, 3, 112, 112) as decoded.
            labels_b: int32 (b,).
            wishes_2: float32; 1 where this rank wishes to stop, to save.
        """
        embeddings_bD, backward = ops.vjp(self.backbone, preprocessed(images), weights=self.weights)
        loss, d_embeddings_bD, d_centers = self.classifier(embeddings_bD, labels_b)
        _, gradients = backward(d_embeddings_bD)
        gradients, wishes_2 = self.summed(gradients, wishes_2)
        squared_norm = Tensor(0.0, mindspore.float32)
        for gradient in gradients:
            squared_norm = squared_norm + (gradient * gradient).sum()
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean()
        summary = ops.concat((ops.stack((loss, length, squared_norm)), wishes_2))
        return (summary, *gradients, d_centers)

    def summed(self, gradients: tuple[Tensor, ...], wishes_2: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Sum over ranks in one message: the loss is a mean over all ranks already, so nothing is averaged."""
        if self.collectives.is_alone:
            return gradients, wishes_2
        flat = [gradient.reshape(-1) for gradient in gradients]
        joined_P = self.collectives.all_sum(ops.concat((*flat, wishes_2)))
        parts, offset = [], 0
        for gradient in gradients:
            parts.append(joined_P[offset : offset + gradient.size].reshape(gradient.shape))
            offset += gradient.size
        return tuple(parts), joined_P[offset:]


class Update(nn.Cell):
    """SGD with momentum: v = momentum*v + (factor*g + decay*w); w = w - rate*v."""

    def __init__(self, weights: list[Parameter], optimizer: OptimizerSpec) -> None:
        super().__init__()
        self.weights = ParameterTuple(weights)
        self.velocities = ParameterTuple([zeros_like(weight) for weight in weights])
        self.momentum = Tensor(optimizer.momentum, mindspore.float32)
        self.decay = optimizer.weight_decay
        self.apply = ops.ApplyMomentum()

    def construct(self, rate: Tensor, factor: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """Apply one update; `factor` scales the backbone's gradients, the last gradient (centres) is taken as it is."""
        last = len(self.weights) - 1
        for index in range(len(self.weights)):
            weight = self.weights[index]
            gradient = gradients[index] if index == last else gradients[index] * factor
            self.apply(weight, self.velocities[index], rate, gradient + self.decay * weight, self.momentum)
        return rate


def zeros_like(weight: Parameter) -> Parameter:
    """Momentum slot of a parameter."""
    return Parameter(Tensor(np.zeros(weight.shape, np.float32)), name=f"momentum.{weight.name}", requires_grad=False)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a rank, or any rank, wants after this step."""

    stop: bool = False
    save: bool = False


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the host learns from one step; the same on every rank but for the embeddings' length."""

    loss: float
    """Mean over the pictures of all ranks."""
    gradient_norm: float
    """L2 norm of the backbone's gradient before clipping."""
    embedding_norm: float
    """Mean length of this rank's embeddings."""
    is_applied: bool
    """False when loss or gradient were not finite and the weights stayed as they were."""
    wishes: Wishes
    """Whether any rank wishes to stop or save: all ranks learn it at the same step."""


class TrainStep:
    """Forward, backward, clip, update."""

    def __init__(self, gradient_step: GradientStep, optimizer: OptimizerSpec, clip_norm: float) -> None:
        self.clip_norm = clip_norm
        self.gradient_step = gradient_step
        self.gradient_step.set_train()
        self.update = Update([*gradient_step.weights, gradient_step.classifier.centers], optimizer)

    def __call__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int32], rate: float, wishes: Wishes = NO_WISHES
    ) -> StepResult:
        """Train on this rank's share of a batch; all ranks must call together."""
        wishes_2 = Tensor([float(wishes.stop), float(wishes.save)], mindspore.float32)
        summary, *gradients = self.gradient_step(Tensor(images), Tensor(labels), wishes_2)
        loss, length, squared_norm, stop, save = summary.asnumpy().tolist()
        is_finite = math.isfinite(loss) and math.isfinite(squared_norm)
        norm = math.sqrt(squared_norm) if is_finite else math.nan
        if is_finite:
            factor = min(1.0, self.clip_norm / max(norm, SMALLEST_NORM))
            self.update(scalar(rate), scalar(factor), tuple(gradients))
        return StepResult(loss, norm, length, is_finite, Wishes(stop > 0, save > 0))


def scalar(value: float) -> Tensor:
    """Zero-dimensional float32 tensor, so that a changing value does not compile a new graph."""
    return Tensor(value, mindspore.float32)
