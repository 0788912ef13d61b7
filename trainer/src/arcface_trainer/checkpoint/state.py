"""Everything that changes while training: weights, running statistics, momentum, the rank's class centres.

As host arrays under names that do not depend on ranks or on how the network is wrapped.
"""

import numpy as np

from arcface_faces.checkpoint import Tensors
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.parameters import STATISTICS_SUFFIXES, assign, host_arrays, named_parameters
from arcface_trainer.step.train_step import TrainStep


class TrainingState:
    """Reads and replaces the state of a training step."""

    def __init__(self, train_step: TrainStep) -> None:
        gradient_step, update = train_step.gradient_step, train_step.update
        self._backbone = named_parameters(gradient_step.backbone)
        names = {id(parameter): name for name, parameter in self._backbone.items()}
        *velocities, self._center_velocity = update.velocities
        self._momentum = {
            names[id(weight)]: velocity for weight, velocity in zip(gradient_step.weights, velocities, strict=True)
        }
        self._centers = gradient_step.classifier.centers

    def backbone(self, world: World) -> Tensors:
        """Weights, and running statistics averaged over ranks: the network that a checkpoint holds.

        Each rank tracks the statistics of its own images. Their update is linear, so averaging now and going on from
        the average gives the same averages later as never having stopped.
        """
        arrays = host_arrays(self._backbone)
        statistics = [name for name in arrays if name.endswith(STATISTICS_SUFFIXES)]
        mean = world.all_mean(np.concatenate([arrays[name].ravel() for name in statistics]))
        offset = 0
        for name in statistics:
            shape, size = arrays[name].shape, arrays[name].size
            arrays[name] = mean[offset : offset + size].reshape(shape)
            offset += size
        return arrays

    def momentum(self) -> Tensors:
        """Momentum of the backbone's weights by their names."""
        return host_arrays(self._momentum)

    def head(self) -> Tensors:
        """This rank's `centers` and their `momentum`."""
        return host_arrays({"centers": self._centers, "momentum": self._center_velocity})

    def load(self, backbone: Tensors, momentum: Tensors, head: Tensors, source: str) -> None:
        """Go on from these arrays; InvalidInput, naming `source`, where names or shapes are others."""
        assign(self._backbone, backbone, source)
        assign(self._momentum, momentum, source)
        assign({"centers": self._centers, "momentum": self._center_velocity}, head, source)
