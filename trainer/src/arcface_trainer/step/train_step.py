"""One training step as one graph: gradients of backbone and head, clipping, update.

One graph and not two: a tuple of a graph's outputs handed to another graph takes three times as long as the gradients
themselves (42 against 10 ms an image in one run; MindSpore 2.10 on one CPU core, IResNet-18 at width 0.25, batch 32).
The host sees nine numbers a step and one for each rank, and the ranks sum what they found with the last gradients.

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
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.network import backbones, layers
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.flat import FlatParameters
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.loss_scale import DynamicLossScale, OverflowFlag
from arcface_trainer.step.update import FlatMomentum, GuardedStatistics, MomentumUpdate, RowMomentum
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes, encode_votes


class TrainStep(nn.Cell):
    """Forward, backward, clip, update."""

    def __init__(
        self,
        gradient_step: GradientStep,
        optimizer: OptimizerSpec,
        clip_norm: float,
        class_draw: ClassDraw | None = None,
    ) -> None:
        super().__init__()
        self.gradient_step = gradient_step
        self.class_draw = class_draw
        weights = list(gradient_step.weights)
        groups = [FlatParameters(weights[start:stop]) for start, stop in gradient_step.buckets]
        momenta = [FlatMomentum(group, optimizer, f"momentum.{index}") for index, group in enumerate(groups)]
        momentum = FlatMomentum if class_draw is None else RowMomentum
        centers = momentum(FlatParameters([gradient_step.classifier.centers]), optimizer, f"momentum.{len(groups)}")
        self.update = MomentumUpdate([*momenta, centers], clip_norm)
        self.statistics = GuardedStatistics(backbones.running_statistics(gradient_step.backbone))
        self.loss_scale = gradient_step.loss_scale
        self.set_train()

    def construct(
        self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor, is_drawn_C: Tensor | None = None
    ) -> Tensor:
        """The summary of `GradientStep`, whether (1) or not (0) the state was updated, the next step's loss scale."""
        self.statistics.restore()
        summary, gradients = self.gradient_step(images, labels_b, votes_N, is_drawn_C)
        # Not the second number: it is this rank's own, and all ranks must come to the same answer.
        is_finite = ops.logical_and(ops.isfinite(summary[0]), ops.isfinite(summary[2:]).all())
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
        drawn = () if self.class_draw is None else (Tensor(self.class_draw.at(step)),)
        summary = self(Tensor(images), Tensor(labels), votes_N, Tensor(rate, float32), *drawn)
        return in_background(partial(self._result, summary), "step result")

    def _result(self, summary: Tensor) -> StepResult:
        """What the graph's numbers mean, once they are there."""
        numbers = summary.asnumpy().tolist()
        ended_at = time.monotonic()
        (loss, length, _, stop, save, bits, *rest), (is_applied, scale) = numbers[:-2], numbers[-2:]
        votes = StepVotes(stop > 0, save > 0, round(bits))
        waits = tuple(rest[: self.gradient_step.collectives.world_size])
        loss_scale = None if self.loss_scale is None else scale
        return StepResult(loss, length, bool(is_applied), votes, waits, ended_at, loss_scale)


def build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """The step of a network and a head with fresh weights, the same for any number of ranks."""
    set_seed(plan.seed)
    backbone = backbones.build_backbone(plan.model, layers.trunk_cast(plan.precision, world.chip))
    classes = class_range(plan.class_count, world.size, world.rank)
    centers = initial_centers(classes, plan.model.embedding_size, plan.seed)
    classifier: Classifier | SampledClassifier = Classifier(plan.loss, classes, centers, world.collectives)
    class_draw, rate = None, plan.loss.sample_rate
    if rate < 1:
        class_draw = ClassDraw(plan.seed, classes, rate)
        classifier = SampledClassifier(classifier, rate, plan.total_batch_size)
    gradient_step = GradientStep(
        backbone,
        classifier,
        world.collectives,
        loss_scale=DynamicLossScale() if plan.precision == "fp16" else None,
        overflow_flag=OverflowFlag() if world.chip is not None and world.chip.saturates else None,
    )
    return TrainStep(gradient_step, training.optimizer, training.clip_norm, class_draw)
