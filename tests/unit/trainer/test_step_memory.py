"""What `arcface plan` says of momentum and gradients is what a step holds of them, counted on the step itself."""

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import class_range
from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import device_memory
from arcface_operator.preflight.layers import network_size
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep
from support.builders.jobs import make_job

CLASSES, EMBEDDING = 11, 16
SPEC = make_job(
    model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": EMBEDDING},
    workers={"accelerator": "cpu"},
).spec


def test_a_step_holds_what_the_plan_says() -> None:
    classes, alone = class_range(CLASSES, 1, 0), Collectives(1, 0)
    head = Classifier(LossSpec(), classes, initial_centers(classes, EMBEDDING, 0), alone)
    step = TrainStep(GradientStep(build_backbone(SPEC.model), head, alone), OptimizerSpec(learning_rate=0.1), 5.0)
    *backbone, centers = step.update.groups
    as_made = sum(weight.nbytes for weight in step.gradient_step.weights)
    joined = sum(group.velocity.nbytes for group in backbone)  # a gradient and its momentum are vectors of one size
    planned = device_memory(SPEC, Counts(CLASSES, 100), network_size(SPEC.model))
    assert planned.momentum == joined
    assert planned.gradients == as_made + joined
    assert planned.head == 3 * centers.velocity.nbytes
