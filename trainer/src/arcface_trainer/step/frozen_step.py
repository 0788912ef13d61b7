"""The training step while the backbone keeps its weights (`model.freezeEpochs`): only the class centres learn.

The backbone computes as it does in use, with its running statistics and without dropout. It has no gradient; its
weights, statistics and momentum stay as they are, and so does the loss scale, which has nothing to lift. Micro-batches
are taken one after another as in a whole step: the logits of all images at once would be more than its memory holds.
Their sums lie where the whole step has its own.

Tensor suffixes: b images of this rank, C classes of this rank, D embedding size, N votes of a rank (see `votes`).
"""

from dataclasses import replace

import numpy as np
from mindspore import ParameterTuple, Tensor, float32, nn, ops
from numpy.typing import NDArray

from arcface_trainer.network.backbones import preprocessed
from arcface_trainer.step.accumulation import Accumulation, MicroBatchedStep, add
from arcface_trainer.step.faults import FaultFinder
from arcface_trainer.step.train_step import DeviceStep, TrainStep
from arcface_trainer.step.votes import StepResult


class FrozenStep(DeviceStep):
    """What the host has the device do instead of a whole step, on the same parameters."""

    def __init__(self, whole: TrainStep) -> None:
        self.gradient_step = whole.gradient_step
        self._graphs = _head_graphs(whole)

    def _run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """As the whole step's, for which the backbone is left in training mode: graphs are made when first launched."""
        self.gradient_step.backbone.set_train(mode=False)
        try:
            return self._graphs.run(images, labels, votes_N, rate)
        finally:
            self.gradient_step.backbone.set_train()

    def _result(self, summary: Tensor) -> StepResult:
        """As the whole step's, without a loss scale: one that cannot fall would be taken to cure what is left out."""
        return replace(super()._result(summary), loss_scale=None)


class _HeadParts(nn.Cell):
    """Forward pass and update of the centres, for graphs that do both or one of them."""

    def __init__(self, whole: TrainStep) -> None:
        super().__init__(auto_prefix=False)  # the parameters are the whole step's and keep their names
        self.parts = whole.gradient_step
        self.update_centers = whole.update.groups[-1]
        collectives = self.parts.collectives
        self.find_faults = FaultFinder(self.parts.groups.head, collectives.world_size, collectives.rank)

    def of_images(self, images: Tensor, labels_b: Tensor) -> tuple[Tensor, ...]:
        """What this rank finds, as `GradientStep.of_images`; of the gradients that of the centres alone."""
        parts = self.parts
        prepared = preprocessed(images)
        if parts.overflow_flag is not None:
            prepared = parts.overflow_flag.cleared_before(prepared)
        embeddings_bD = parts.backbone(prepared)
        loss, _, d_centers_CD = parts.classifier(embeddings_bD, labels_b)
        gradient_P, loss = d_centers_CD.reshape(-1), loss.reshape((1,))
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean().reshape((1,))
        if parts.overflow_flag is not None:
            return loss, length, parts.overflow_flag.raised_by([gradient_P]), gradient_P
        return loss, length, gradient_P

    def end(self, found: tuple[Tensor, ...], votes_N: Tensor, rate: Tensor) -> Tensor:
        """What a whole step gives; the squared norm of the backbone's gradient is 0."""
        parts, loss, length, gradient_P = self.parts, found[0], found[1], found[-1]
        squared_norm, nothing = (gradient_P * gradient_P).sum().reshape((1,)), ops.zeros_like(loss)
        faults_R = self.find_faults((length, nothing, parts.sum_of_centers(), loss), squared_norm, [])
        shared = parts.collectives.all_sum(
            ops.concat((loss, parts.counted(votes_N), faults_R, squared_norm, *found[2:-1]))
        )
        summary = ops.concat((shared[:1] / parts.collectives.world_size, length, nothing, shared[1:]))
        is_sound = summary[parts.first_fault : parts.faults_end].sum() == 0
        is_finite = ops.logical_and(ops.isfinite(shared).all(), is_sound)
        if parts.overflow_flag is not None:
            is_finite = ops.logical_and(is_finite, summary[-1] == 0)
        self.update_centers(gradient_P, rate, is_finite)
        return ops.concat((summary, ops.stack((is_finite.astype(float32), ops.ones_like(rate)))))


class _WholeHeadStep(nn.Cell):
    """A step in one graph."""

    def __init__(self, head: _HeadParts) -> None:
        super().__init__(auto_prefix=False)
        self.head = head

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What `_HeadParts` returns at the end."""
        return self.head.end(self.head.of_images(images, labels_b), votes_N, rate)

    def run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """The same of arrays of the host."""
        return self(Tensor(images), Tensor(labels), votes_N, rate)


class _HeadAccumulation(nn.Cell):
    """What a rank has found in the micro-batches of a step so far."""

    def __init__(self, head: _HeadParts, sums: Accumulation) -> None:
        super().__init__(auto_prefix=False)
        self.head = head
        self.share = sums.share
        numbers = sums.found[: -1 - len(head.parts.buckets)]
        self.found = ParameterTuple([*numbers, sums.found[-1]])

    def construct(self, images: Tensor, labels_b: Tensor, is_first: Tensor) -> Tensor:
        """Add what a micro-batch gives, or begin anew with it; returns its part of the loss (1,)."""
        loss, length, *sums = self.head.of_images(images, labels_b)
        given = (loss, length * self.share, *sums)
        for index in range(len(given)):
            add(self.found[index], given[index], is_first)
        return loss


class _AccumulatedHeadUpdate(nn.Cell):
    """The end of a step whose micro-batches have been added up."""

    def __init__(self, accumulation: _HeadAccumulation) -> None:
        super().__init__(auto_prefix=False)
        self.head = accumulation.head
        self.found = accumulation.found

    def construct(self, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What `_HeadParts` returns at the end."""
        return self.head.end(self.found, votes_N, rate)


def _head_graphs(whole: TrainStep) -> _WholeHeadStep | MicroBatchedStep:
    """As many micro-batches as the whole step takes."""
    head = _HeadParts(whole)
    if not isinstance(whole.graphs, MicroBatchedStep):
        return _WholeHeadStep(head)
    accumulation = _HeadAccumulation(head, whole.graphs.accumulation)
    return MicroBatchedStep(accumulation, _AccumulatedHeadUpdate(accumulation), whole.micro_batches)
