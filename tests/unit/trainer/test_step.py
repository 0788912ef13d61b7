"""One real step on a small network."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.step import GradientStep, TrainStep

CLASSES, EMBEDDING, BATCH = 6, 8, 4


class Backbone(nn.Cell):
    """The smallest network that has weights."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.flatten = nn.Flatten()
        self.dense = nn.Dense(48, EMBEDDING)

    def construct(self, images):
        return self.dense(self.flatten(self.pool(images)))


class Spoiled(nn.Cell):
    """A classifier whose gradient for the centres, and nothing else, is multiplied by a number.

    The number is a parameter and not a constant: MindSpore may give a second network the compiled graph, constants
    included, of an earlier one of the same shape.
    """

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.centers = classifier.centers
        self.factor = Parameter(Tensor(np.float32(1.0)), name="factor", requires_grad=False)

    def construct(self, embeddings, labels):
        loss, d_embeddings, d_centers = self.classifier(embeddings, labels)
        return loss, d_embeddings, d_centers * self.factor


def make_step(factor):
    classes = ClassRange(0, CLASSES)
    alone = Collectives(1, 0)
    head = Spoiled(Classifier(LossSpec(scale=8.0), classes, initial_centers(classes, EMBEDDING, seed=1), alone))
    head.factor.set_data(Tensor(np.float32(factor)))
    return TrainStep(GradientStep(Backbone(), head, alone), OptimizerSpec(learning_rate=0.1), clip_norm=5.0)


def state(step):
    return [parameter.asnumpy().copy() for parameter in (*step.update.weights, *step.update.velocities)]


def run(step):
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
    return step.run(images, np.arange(BATCH, dtype=np.int32), rate=0.1)


def test_a_step_changes_weights_and_centres():
    step = make_step(1.0)
    before = state(step)
    result = run(step)
    assert result.is_applied
    assert all((old != new).any() for old, new in zip(before, state(step), strict=True))


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_gradient_of_the_centres_that_is_not_finite_changes_nothing(factor):
    step = make_step(factor)
    before = state(step)
    result = run(step)
    assert np.isfinite(result.loss)
    assert not result.is_applied
    for old, new in zip(before, state(step), strict=True):
        np.testing.assert_array_equal(old, new)
