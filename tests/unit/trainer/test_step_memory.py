"""What `arcface plan` says of momentum and gradients is what a step holds of them, counted on the step itself."""

import pytest
from mindspore import Tensor

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import class_range
from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import device_memory, host_memory
from arcface_operator.preflight.layers import network_size
from arcface_trainer.checkpoint.pod_memory import COPIES
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import Collectives, World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.frozen_step import FrozenStep
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep
from support import small_step
from support.builders.jobs import make_job

CLASSES, EMBEDDING = 11, 16
JOB = {
    "model": {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": EMBEDDING},
    "workers": {"accelerator": "cpu"},
}
SPEC = make_job(**JOB).spec


def make_step(micro_batches: int = 1) -> TrainStep:
    classes, alone = class_range(CLASSES, 1, 0), Collectives(1, 0)
    head = Classifier(LossSpec(), classes, initial_centers(classes, EMBEDDING, 0), alone)
    gradient_step = GradientStep(build_backbone(SPEC.model), head, alone)
    return TrainStep(gradient_step, OptimizerSpec(learning_rate=0.1), 5.0, micro_batches)


def test_a_step_holds_what_the_plan_says() -> None:
    step = make_step()
    *backbone, centers = step.update.groups
    as_made = sum(weight.nbytes for weight in step.gradient_step.weights)
    joined = sum(group.velocity.nbytes for group in backbone)  # a gradient and its momentum are vectors of one size
    planned = device_memory(SPEC, Counts(CLASSES, 100), network_size(SPEC.model))
    assert planned.momentum == joined
    assert planned.gradients == as_made + joined
    assert planned.head == 3 * centers.velocity.nbytes


def test_what_a_rank_keeps_in_its_pods_memory_is_what_the_plan_says() -> None:
    counts, network = Counts(CLASSES, 100), network_size(SPEC.model)
    planned = host_memory(SPEC, counts, network, device_memory(SPEC, counts, network))
    assert planned.states == COPIES * sum(TrainingState(make_step()).sizes())


def test_a_step_of_the_head_alone_compares_the_images_of_a_micro_batch_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plan counts the logits of so many."""
    compared, compare = [], Classifier.compare

    def compare_and_count(self: Classifier, embeddings: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        compared.append(len(embeddings))
        return compare(self, embeddings, *others)

    monkeypatch.setattr(Classifier, "compare", compare_and_count)
    frozen, split = FrozenStep(small_step.small_step(World(1, 0), 4)), small_step.split_for(1, 4)
    small_step.launch_share(frozen, split, 0, *small_step.small_batch())
    assert compared == [split.micro_batch_size] * 4 == [12] * 4


def test_a_step_in_micro_batches_keeps_the_sums_that_the_plan_says() -> None:
    whole, parts = (
        device_memory(job.spec, Counts(CLASSES, 100), network_size(SPEC.model))
        for job in (make_job(**JOB), make_job(**JOB, training={"gradientAccumulation": 4}))
    )
    (_, _, *sums) = make_step(micro_batches=4).graphs.accumulation.found  # behind loss and length
    planned = parts.gradients - whole.gradients + parts.head - whole.head
    assert sum(each.nbytes for each in sums) == planned
