"""The state of a training: what changes while training, as host arrays, and what verifications have found of it.

Weights, running statistics, momentum and the rank's class centres, under names that do not depend on ranks or on how
the network is wrapped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import Diverged
from arcface_api.resource.status import Verification
from arcface_faces.checkpoint import LossScale, RollBack, Tensors
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import assign, check_fit, host_arrays, named_parameters
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.loss_scale import DynamicLossScale
from arcface_trainer.step.train_step import TrainStep, fresh_backbone, fresh_centers


class TrainingState:
    """Reads and replaces the state of a training step."""

    def __init__(self, train_step: TrainStep) -> None:
        gradient_step = train_step.gradient_step
        self._backbone = named_parameters(gradient_step.backbone)
        self._weights = {name: weight for name, weight in self._backbone.items() if weight.requires_grad}
        self._centers = {"centers": gradient_step.classifier.centers}
        self._statistics = train_step.statistics
        self._update = train_step.update
        self._loss_scale = train_step.loss_scale

    def backbone(self, world: World) -> Tensors:
        """Weights, and running statistics averaged over ranks: the network that a checkpoint holds.

        Each rank tracks the statistics of its own images. Their update is linear, so averaging now and going on from
        the average gives the same averages later as never having stopped.
        """
        own = {name: value for name, value in self._backbone.items() if name not in self._statistics.names}
        return host_arrays(own) | self._statistics.by_name(world.all_mean(self._statistics.host_vector()))

    def momentum(self) -> Tensors:
        """Momentum of the backbone's weights by their names."""
        return self._update.host_momentum(self._weights)

    def head(self) -> Tensors:
        """This rank's `centers` and their `momentum`."""
        momentum = self._update.host_momentum(self._centers)["centers"]
        return {**host_arrays(self._centers), "momentum": momentum}

    def sizes(self) -> tuple[int, int]:
        """Bytes of this rank's head, and of what all ranks have alike, in a checkpoint."""
        shared = sum(value.nbytes for value in (*self._backbone.values(), *self._weights.values()))
        return 2 * self._centers["centers"].nbytes, shared

    def loss_scale(self) -> LossScale | None:
        """The dynamic loss scale; None where the precision needs none."""
        return None if self._loss_scale is None else self._loss_scale.save()

    def load_loss_scale(self, saved: LossScale | None) -> None:
        """Go on from a checkpoint's loss scale; from a fresh one where it has none."""
        if self._loss_scale is not None and saved is not None:
            self._loss_scale.load(saved)

    def load(self, backbone: Tensors, momentum: Tensors, head: Tensors, source: str) -> None:
        """Go on from these arrays; InvalidInput, naming `source`, where names or shapes are others."""
        centers = self._centers["centers"]
        check_fit(self._weights, momentum, source)
        check_fit({"centers": centers, "momentum": centers}, head, source)
        self.begin_with(backbone, head["centers"], source)
        self._update.assign_momentum(self._weights, momentum)
        self._update.assign_momentum(self._centers, {"centers": head["momentum"]})

    def begin_anew(self, plan: TrainingPlan, world: World) -> None:
        """Go back to what the training began with: fresh weights by the seed, without momentum."""
        fresh = host_arrays(named_parameters(fresh_backbone(plan, world)))
        self.begin_with(fresh, fresh_centers(plan, world), "the beginning")
        for parameters in (self._weights, self._centers):
            still = {name: np.zeros_like(moving) for name, moving in self._update.host_momentum(parameters).items()}
            self._update.assign_momentum(parameters, still)
        if self._loss_scale is not None:
            self._loss_scale.load(DynamicLossScale().save())

    def begin_with(self, backbone: Tensors, centers: NDArray[np.float32], source: str) -> None:
        """Take over weights and statistics; InvalidInput, naming `source`, where names or shapes are others."""
        assign(self._backbone, backbone, source)
        self._statistics.load(backbone)
        assign(self._centers, {"centers": centers}, source)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A rank's part of the state after `step` updates: copies in host memory, written while the training goes on."""

    step: int
    head: Tensors
    shared: dict[str, Tensors]
    """Tensors by file, of which one copy is enough: one rank of all those that write to a place holds them."""
    verification: Verification | None = None
    """The last one so far."""
    best: Verification | None = None
    loss_scale: LossScale | None = None
    roll_back: RollBack | None = None

    def check_finite(self) -> None:
        """Diverged where a number is not finite: such a state is never saved."""
        for tensors in (self.head, *self.shared.values()):
            for name, array in tensors.items():
                if not np.isfinite(array).all():
                    raise Diverged(
                        f"the state after step {self.step} is not saved: {name} is not finite; lower "
                        "training.optimizer.learningRate"
                    )


@dataclass(slots=True)
class Verifications:
    """The last one so far, and the best one that has a checkpoint or is about to have it; the same on all ranks."""

    last: Verification | None = None
    best: Verification | None = None
    _former_best: Verification | None = None

    def add(self, new: Verification) -> None:
        """Take one into account."""
        self.last = new
        if self.best is None or is_better(new, self.best):
            self._former_best, self.best = self.best, new

    def go_back(self, last: Verification | None, best: Verification | None) -> None:
        """Know what a checkpoint knows, and nothing of what came after it."""
        self.last, self.best, self._former_best = last, best, None

    def is_best(self, step: int) -> bool:
        """Whether the state after `step` updates is the best so far."""
        return self.best is not None and self.best.step == step

    def forget(self, step: int) -> None:
        """Go back to the best one before, where the state after `step` updates could not be saved."""
        if self.is_best(step):
            self.best = self._former_best

    def best_until(self, step: int) -> Verification | None:
        """The best one whose checkpoint is there when the newest is that of `step` updates."""
        return self.best if self.best is None or self.best.step <= step else self._former_best


def is_better(new: Verification, old: Verification) -> bool:
    """Whether the mean accuracy has risen; figures on other pairs cannot be compared and give way."""
    pairs = [[(result.dataset, result.pairs) for result in each.results] for each in (new, old)]
    return pairs[0] != pairs[1] or new.mean_accuracy > old.mean_accuracy
