"""A step in several micro-batches: one graph adds up what each of them gives, another one ends the step.

Sums stay on the device, as vectors of the kinds that ranks sum. The second graph holds no network: it is small, and
what it does is what a step in one batch does after its backward pass, so that overflows, clipping, loss scale and votes
are matters of the whole step, and ranks exchange gradients once. Until then nothing but the sums changes.

Running statistics do not move on from one micro-batch to the next: each moves them from where the step began, and the
mean is kept. Their update is linear, so n micro-batches of a rank are worth those of n ranks (see `checkpoint.state`),
and whoever takes fewer images at once remembers no less of the past.

Tensor suffixes: n micro-batches of a rank, b images of one of them, N votes of a rank.
"""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.update import GuardedStatistics, StateUpdate


class Accumulation(nn.Cell):
    """What a rank has found in the micro-batches of a step so far."""

    def __init__(self, ending: StateUpdate, micro_batches: int) -> None:
        super().__init__()
        self.gradient_step: GradientStep = ending.gradient_step
        self.statistics: GuardedStatistics = ending.statistics
        self.share = 1 / micro_batches
        numbers = 2 if ending.gradient_step.overflow_flag is None else 3
        sizes = [1] * numbers + [group.size for group in ending.update.groups]
        self.found = ParameterTuple([_zeros(size, f"found.{index}") for index, size in enumerate(sizes)])
        self.moved = _zeros(ending.statistics.moved.size, "moved_statistics")
        self.set_train()

    def construct(self, images: Tensor, labels_b: Tensor, is_first: Tensor) -> Tensor:
        """Add what a micro-batch gives, or begin anew with it; returns its part of the loss (1,).

        Args:
            images: uint8 RGB (b, 3, 112, 112) as decoded.
            labels_b: int32 (b,).
            is_first: whether the micro-batch is the first one of its step.
        """
        self.statistics.restore()
        loss, length, *sums = self.gradient_step.of_images(images, labels_b)
        given = (loss, length * self.share, *sums)
        for index in range(len(given)):
            add(self.found[index], given[index], is_first)
        add(self.moved, self.statistics.moved() * self.share, is_first)
        return loss


def add(total: Parameter, x: Tensor, is_first: Tensor) -> None:
    """Not a sum with zeros to begin with: what a step has found that was not finite ends with it."""
    ops.assign(total, ops.where(is_first, x, total + x))


class AccumulatedUpdate(nn.Cell):
    """The end of a step whose micro-batches have been added up."""

    def __init__(self, ending: StateUpdate, accumulation: Accumulation) -> None:
        super().__init__()
        self.ending = ending
        self.found = accumulation.found
        self.moved = accumulation.moved
        self.set_train()

    def construct(self, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What `StateUpdate` returns."""
        return self.ending(self.found, self.moved, votes_N, rate)


class MicroBatchedStep:
    """A step whose images a rank takes one micro-batch after another."""

    def __init__(self, accumulation: nn.Cell, update: nn.Cell, micro_batches: int) -> None:
        """Make it of a graph that adds a micro-batch's results up, and of one that ends a step with the sums."""
        self._micro_batches = micro_batches
        self.accumulation = accumulation
        self._update = update

    def run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """What the update returns for a rank's share of a step: images (n * b, 3, 112, 112) and labels (n * b,)."""
        parts = zip(np.split(images, self._micro_batches), np.split(labels, self._micro_batches), strict=True)
        for number, (images_b, labels_b) in enumerate(parts):
            self.accumulation(Tensor(images_b), Tensor(labels_b), Tensor(number == 0))
        return self._update(votes_N, rate)


def _zeros(size: int, name: str) -> Parameter:
    return Parameter(Tensor(np.zeros(size, np.float32)), name=name, requires_grad=False)
