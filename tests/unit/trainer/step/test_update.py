"""Updates of rows: a real step that draws classes, against the same update written down in NumPy."""

import numpy as np
import pytest
from mindspore import Tensor, nn

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.step.votes import NO_VOTES, encode_votes

pytestmark = pytest.mark.usefixtures("graph_mode")
CLASSES, EMBEDDING, BATCH, SHARE = 60, 8, 4, 0.2
RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
LABELS = np.array([3, 59, 3, 17], np.int32)


class Backbone(nn.Cell):
    """The smallest network that has weights and statistics."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.dense = nn.Dense(48, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)

    def construct(self, images):
        return self.norm(self.dense(self.pool(images).reshape(images.shape[0], -1)))


class Sampled:
    """A step that draws classes, what it holds of them and what its gradients are."""

    def __init__(self):
        classes, alone = ClassRange(0, CLASSES), Collectives(1, 0)
        head = Classifier(LossSpec(scale=8.0), classes, initial_centers(classes, EMBEDDING, seed=1), alone)
        self.draw = ClassDraw(5, classes, SHARE)
        self.classifier = SampledClassifier(head, self.draw, BATCH)
        optimizer = OptimizerSpec(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        self.step = TrainStep(GradientStep(Backbone(), self.classifier, alone), optimizer, 5.0)
        self.images = np.random.default_rng(5).integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)

    def run(self, number):
        return self.step.launch(self.images, LABELS, RATE, step=number).result()

    def compared(self, number):
        return np.union1d(np.flatnonzero(self.draw.at(number)), LABELS)

    def head(self):
        centers = {"centers": self.step.gradient_step.classifier.centers}
        return centers["centers"].asnumpy().copy(), self.step.update.host_momentum(centers)["centers"]

    def gradient(self, number):
        """Of the rows that are compared with, by the graph of the gradients alone."""
        self.classifier.choose(LABELS, number)
        inputs = Tensor(self.images), Tensor(LABELS), encode_votes(NO_VOTES, 0.0, 1, 0)
        _, (*_, gradient) = self.step.gradient_step(*inputs)
        selection, rows = self.classifier.selection, self.compared(number)
        assert selection.class_K.asnumpy()[: len(rows)].tolist() == rows.tolist()
        return gradient.asnumpy().reshape(selection.row_count, EMBEDDING)[: len(rows)]


@pytest.fixture(scope="module")
def sampled():
    return Sampled()


def test_rows_that_are_compared_with_follow_sgd_and_the_others_wait(sampled):
    (centers, velocity), loss = sampled.head(), None
    for number in range(3):
        rows, gradient = sampled.compared(number), sampled.gradient(number)
        assert 0 < len(rows) < CLASSES
        velocity[rows] = MOMENTUM * velocity[rows] + gradient + DECAY * centers[rows]
        centers[rows] -= RATE * velocity[rows]
        before = sampled.head()
        result = sampled.run(number)
        assert result.is_applied
        assert result.loss != loss
        loss, after, waiting = result.loss, sampled.head(), np.setdiff1d(np.arange(CLASSES), rows)
        for new, old, expected in zip(after, before, (centers, velocity), strict=True):
            np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
            assert new[waiting].tobytes() == old[waiting].tobytes()
            assert (new[rows] != old[rows]).any(axis=1).all()


def test_a_step_that_is_not_finite_changes_no_row_to_the_bit(sampled):
    sampled.run(0)
    centers = sampled.step.gradient_step.classifier.centers
    damaged, momentum = sampled.head()
    damaged[LABELS[1]] = np.nan
    centers.set_data(Tensor(damaged))
    result = sampled.run(1)
    assert (result.is_applied, str(result.fault)) == (False, "the class centres not finite on rank 0")
    assert [array.tobytes() for array in sampled.head()] == [damaged.tobytes(), momentum.tobytes()]
    damaged[LABELS[1]] = 1.0
    centers.set_data(Tensor(damaged))
    assert sampled.run(1).is_applied


def test_a_checkpoint_keeps_the_momentum_of_all_rows(sampled):
    sampled.run(0)
    centers = {"centers": sampled.step.gradient_step.classifier.centers}
    kept = sampled.step.update.host_momentum(centers)
    assert kept["centers"].shape == (CLASSES, EMBEDDING)
    sampled.run(1)
    sampled.step.update.assign_momentum(centers, kept)
    np.testing.assert_array_equal(sampled.step.update.host_momentum(centers)["centers"], kept["centers"])
