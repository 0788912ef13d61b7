"""Clipping and the update of weights and class centres."""

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from arcface_api.resource.spec import OptimizerSpec

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
        momentum = ops.where(is_finite, scalar(self.momentum), scalar(1.0))
        rate = ops.where(is_finite, rate, scalar(0.0))
        last = len(self.weights) - 1
        for index in range(len(self.weights)):
            weight = self.weights[index]
            gradient = gradients[index] if index == last else gradients[index] * factor
            change = gradient + self.decay * weight
            change = ops.where(is_finite, change, scalar(0.0))
            self.apply(weight, self.velocities[index], rate, change, momentum)
        return is_finite


def _zeros_like(weight: Parameter) -> Parameter:
    """Momentum slot of a parameter."""
    return Parameter(Tensor(np.zeros(weight.shape, np.float32)), name=f"momentum.{weight.name}", requires_grad=False)


def scalar(value: float) -> Tensor:
    """Zero-dimensional float32 tensor, so that a changing value does not compile a new graph."""
    return Tensor(value, mindspore.float32)
