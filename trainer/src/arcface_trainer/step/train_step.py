"""One training step as one graph: gradients of backbone and head, clipping, update.

One graph and not two: a tuple of a graph's outputs handed to another graph takes three times as long as the gradients
themselves (42 against 10 ms an image in one run; MindSpore 2.10 on one CPU core, IResNet-18 at width 0.25, batch 32).
The host sees nine numbers a step and two for each rank, and the ranks sum what they found with the last gradients.

Tensor suffixes: b images of this rank, N votes of a rank (see `votes`).
"""

import time
from concurrent.futures import Future
from functools import partial

import numpy as np
from mindspore import Tensor, float32, nn, ops, set_seed
from numpy.typing import NDArray

from arcface_api.resource.spec import OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.background import in_background
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network import backbones, layers
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step import faults
from arcface_trainer.step.flat import FlatParameters
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.loss_scale import DynamicLossScale, OverflowFlag
from arcface_trainer.step.update import GuardedStatistics, MomentumUpdate
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes, encode_votes, votes_size


class TrainStep(nn.Cell):
    """Forward, backward, clip, update."""

    def __init__(self, gradient_step: GradientStep, optimizer: OptimizerSpec, clip_norm: float) -> None:
        super().__init__()
        self.gradient_step = gradient_step
        weights = list(gradient_step.weights)
        groups = [FlatParameters(weights[start:stop]) for start, stop in gradient_step.buckets]
        centers = FlatParameters([gradient_step.classifier.centers])
        self.update = MomentumUpdate([*groups, centers], optimizer, clip_norm)
        self.statistics = GuardedStatistics(backbones.running_statistics(gradient_step.backbone))
        self.loss_scale = gradient_step.loss_scale
        names = {id(each): name for name, each in backbones.named_parameters(gradient_step.backbone).items()}
        self.group_names = faults.group_names([names[id(weight)] for weight in weights], gradient_step.buckets)
        ranks = gradient_step.collectives.world_size
        self.first_fault = 3 + votes_size(ranks)
        self.faults_end = self.first_fault + ranks
        self.set_train()

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """The summary of `GradientStep`, whether (1) or not (0) the state was updated, the next step's loss scale."""
        self.statistics.restore()
        summary, gradients = self.gradient_step(images, labels_b, votes_N)
        # Not the second number: it is this rank's own, and all ranks must come to the same answer.
        is_finite = ops.logical_and(ops.isfinite(summary[0]), ops.isfinite(summary[2:]).all())
        is_finite = ops.logical_and(is_finite, summary[self.first_fault : self.faults_end].sum() == 0)
        if self.gradient_step.overflow_flag is not None:
            is_finite = ops.logical_and(is_finite, summary[-1] == 0)
        self.update(gradients, summary[2], rate, is_finite)
        self.statistics.keep(is_finite)
        scale = self.loss_scale(is_finite) if self.loss_scale is not None else Tensor(1.0, float32)
        return ops.concat((summary, ops.stack((is_finite.astype(float32), scale))))

    def launch(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int32],
        rate: float,
        votes: StepVotes = NO_VOTES,
        wait: float = 0.0,
    ) -> "Future[StepResult]":
        """Have the device train on this rank's share of a batch, which it waited for; all ranks must call together.

        The result is read by a thread that begins to wait before the next step is launched. On Ascend, whoever asks
        for a tensor waits for all that has been launched until then (`AscendDeviceAddress::SyncDeviceToHost`), and the
        wait leaves other threads alone (`TensorPybind::SyncAsNumpy`). Read in MindSpore's sources; nobody has measured
        it on a card. A CPU computes within the call.
        """
        ranks = self.gradient_step.collectives
        votes_N = encode_votes(votes, wait, ranks.world_size, ranks.rank)
        summary = self(Tensor(images), Tensor(labels), votes_N, Tensor(rate, float32))
        return in_background(partial(self._result, summary), "step result")

    def _result(self, summary: Tensor) -> StepResult:
        """What the graph's numbers mean, once they are there."""
        numbers = summary.asnumpy().tolist()
        ended_at = time.monotonic()
        (loss, length, _, stop, save, bits, *rest), (is_applied, scale) = numbers[:-2], numbers[-2:]
        votes, ranks = StepVotes(stop > 0, save > 0, round(bits)), self.gradient_step.collectives.world_size
        waits, fault = tuple(rest[:ranks]), faults.read_faults(rest[ranks : 2 * ranks], self.group_names)
        loss_scale = None if self.loss_scale is None else scale
        return StepResult(loss, length, bool(is_applied), votes, waits, ended_at, loss_scale, fault)


def build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """The step of a network and a head with fresh weights, the same for any number of ranks."""
    set_seed(plan.seed)
    backbone = backbones.build_backbone(plan.model, layers.trunk_cast(plan.precision, world.chip))
    classes = class_range(plan.class_count, world.size, world.rank)
    centers = initial_centers(classes, plan.model.embedding_size, plan.seed)
    classifier = Classifier(plan.loss, classes, centers, world.collectives)
    gradient_step = GradientStep(
        backbone,
        classifier,
        world.collectives,
        loss_scale=DynamicLossScale() if plan.precision == "fp16" else None,
        overflow_flag=OverflowFlag() if world.chip is not None and world.chip.saturates else None,
    )
    return TrainStep(gradient_step, training.optimizer, training.clip_norm)
