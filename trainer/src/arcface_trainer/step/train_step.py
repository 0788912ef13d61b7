"""One training step: gradients of backbone and head, clipping, update.

One graph does all of it where a rank takes its images at once, and not two: a tuple of a graph's outputs handed to
another graph takes three times as long as the gradients themselves (42 against 10 ms an image in one run; MindSpore
2.10 on one CPU core, IResNet-18 at width 0.25, batch 32). Where it takes them in micro-batches, what two graphs share
stays on the device (`accumulation`).
The host sees ten numbers a step, one more where it draws classes, and two for each rank; the ranks sum what they found
with the last gradients.

Tensor suffixes: b images of this rank, N votes of a rank (see `votes`).
"""

import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from functools import partial

import numpy as np
from mindspore import Tensor, float32, nn, set_seed
from numpy.typing import NDArray

from arcface_api.resource.spec import OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.background import in_background
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.network import backbones, layers
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step import accumulation, faults, gradients
from arcface_trainer.step.flat import FlatParameters
from arcface_trainer.step.loss_scale import DynamicLossScale, OverflowFlag
from arcface_trainer.step.update import FlatMomentum, GuardedStatistics, MomentumUpdate, RowMomentum, StateUpdate
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes, encode_votes


class WholeStep(nn.Cell):
    """A step in one graph: forward and backward pass, then the update."""

    def __init__(self, ending: StateUpdate) -> None:
        super().__init__()
        self.gradient_step = ending.gradient_step
        self.statistics = ending.statistics
        self.ending = ending
        self.set_train()

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What `StateUpdate` returns."""
        # MindSpore's compiler warns of side effects that it has dropped here (ClearIsolatedNodes); none is missing.
        self.statistics.restore()
        found = self.gradient_step.of_images(images, labels_b)
        return self.ending(found, self.statistics.moved(), votes_N, rate)

    def run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """The same of arrays of the host."""
        return self(Tensor(images), Tensor(labels), votes_N, rate)


class DeviceStep(ABC):
    """What the host has the device do, and learns of it one step later."""

    gradient_step: gradients.GradientStep

    @abstractmethod
    def _run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """What `StateUpdate` returns, for a rank's share of a step."""

    def launch(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int32],
        rate: float,
        votes: StepVotes = NO_VOTES,
        wait: float = 0.0,
        *,
        step: int = 0,
    ) -> "Future[StepResult]":
        """Have the device train on this rank's share of a batch, which it waited for; all ranks must call together.

        The updates before it, `step`, decide which classes are drawn.

        The result is read by a thread that begins to wait before the next step is launched. On Ascend, whoever asks
        for a tensor waits for all that has been launched until then (`AscendDeviceAddress::SyncDeviceToHost`), and the
        wait leaves other threads alone (`TensorPybind::SyncAsNumpy`). Read in MindSpore's sources; nobody has measured
        it on a card. A CPU computes within the call.
        """
        ranks = self.gradient_step.collectives
        votes_N = encode_votes(votes, wait, ranks.world_size, ranks.rank)
        if isinstance(self.gradient_step.classifier, SampledClassifier):
            self.gradient_step.classifier.choose(labels, step)
        summary = self._run(images, labels, votes_N, Tensor(rate, float32))
        return in_background(partial(self._result, summary), "step result")

    def _result(self, summary: Tensor) -> StepResult:
        """What the graph's numbers mean, once they are there."""
        numbers = summary.asnumpy().tolist()
        ended_at = time.monotonic()
        (loss, length, _, stop, save, bits, keep, *rest), (is_applied, scale) = numbers[:-2], numbers[-2:]
        votes = StepVotes(stop > 0, save > 0, round(bits), keep > 0)
        parts = self.gradient_step
        waits = tuple(rest[: parts.collectives.world_size])
        compared = numbers[parts.first_fault - 1] if parts.draws_classes else None
        fault = faults.read_faults(numbers[parts.first_fault : parts.faults_end], parts.groups.names)
        loss_scale = None if parts.loss_scale is None else scale
        return StepResult(loss, length, bool(is_applied), votes, waits, ended_at, loss_scale, fault, compared)


class TrainStep(DeviceStep):
    """Forward, backward, clip, update."""

    def __init__(
        self, gradient_step: gradients.GradientStep, optimizer: OptimizerSpec, clip_norm: float, micro_batches: int = 1
    ) -> None:
        self.gradient_step = gradient_step
        weights = list(gradient_step.weights)
        groups = [FlatParameters(weights[start:stop]) for start, stop in gradient_step.buckets]
        momenta = [FlatMomentum(group, optimizer, f"momentum.{index}") for index, group in enumerate(groups)]
        self.update = MomentumUpdate([*momenta, _head_momentum(gradient_step.classifier, optimizer)], clip_norm)
        self.statistics = GuardedStatistics(backbones.running_statistics(gradient_step.backbone))
        self.loss_scale = gradient_step.loss_scale
        ending = StateUpdate(gradient_step, self.update, self.statistics)
        self.micro_batches = micro_batches
        self.graphs = WholeStep(ending) if micro_batches == 1 else _in_micro_batches(ending, micro_batches)

    def _run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        return self.graphs.run(images, labels, votes_N, rate)


def _in_micro_batches(ending: StateUpdate, micro_batches: int) -> accumulation.MicroBatchedStep:
    sums = accumulation.Accumulation(ending, micro_batches)
    return accumulation.MicroBatchedStep(sums, accumulation.AccumulatedUpdate(ending, sums), micro_batches)


def _head_momentum(classifier: Classifier | SampledClassifier, optimizer: OptimizerSpec) -> FlatMomentum | RowMomentum:
    """Of all centres, or of those that a step compares with."""
    centers, name = FlatParameters([classifier.centers]), "momentum.centers"
    if isinstance(classifier, SampledClassifier):
        return RowMomentum(centers, optimizer, name, classifier.selection)
    return FlatMomentum(centers, optimizer, name)


def fresh_backbone(plan: TrainingPlan, world: World) -> nn.Cell:
    """A network with the weights that a training begins with, the same on all ranks and each time."""
    set_seed(plan.seed)
    return backbones.build_backbone(plan.model, layers.trunk_cast(plan.precision, world.chip))


def fresh_centers(plan: TrainingPlan, world: World) -> NDArray[np.float32]:
    """This rank's class centres to begin with, (C, D), the same for any number of ranks and each time."""
    classes = class_range(plan.class_count, world.size, world.rank)
    return initial_centers(classes, plan.model.embedding_size, plan.seed)


def build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """The step of a network and a head with fresh weights, the same for any number of ranks."""
    backbone, centers = fresh_backbone(plan, world), fresh_centers(plan, world)
    classes = class_range(plan.class_count, world.size, world.rank)
    whole = Classifier(plan.loss, classes, centers, world.collectives, plan.total_batch_size)
    draw = ClassDraw(plan.seed, classes, plan.loss.sample_rate)
    classifier = whole if draw.rate == 1 else SampledClassifier(whole, draw, plan.total_batch_size)
    gradient_step = gradients.GradientStep(
        backbone,
        classifier,
        world.collectives,
        loss_scale=DynamicLossScale() if plan.precision == "fp16" else None,
        overflow_flag=OverflowFlag() if world.chip is not None and world.chip.saturates else None,
    )
    return TrainStep(gradient_step, training.optimizer, training.clip_norm, plan.micro_batches)
