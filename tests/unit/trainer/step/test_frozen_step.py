"""A step that trains the head alone, between and beside whole steps on the same parameters."""

import numpy as np
import pytest
from mindspore import GRAPH_MODE, PYNATIVE_MODE, Parameter, Tensor, nn, set_context

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import ClassRange, class_range
from arcface_trainer.distributed.collectives import Collectives, World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.head.sampling import ClassDraw
from arcface_trainer.step.frozen_step import FrozenStep
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.loss_scale import INITIAL, DynamicLossScale
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.step.votes import StepVotes
from support import small_step

pytestmark = pytest.mark.usefixtures("graph_mode")
CLASSES, EMBEDDING, BATCH = 6, 8, 4
ALONE = World(1, 0)
RATE, DECAY = 0.1, 5e-4


class Backbone(nn.Cell):
    """Weights, statistics and dropout: all that training mode changes, and a factor that spoils the numbers."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(p=0.5)
        self.dense = nn.Dense(48, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)
        self.factor = Parameter(Tensor(np.float32(1.0)), name="features_factor", requires_grad=False)

    def construct(self, images):
        return self.norm(self.dense(self.dropout(self.flatten(self.pool(images)))) * self.factor)


class Steps:
    """A whole step, the frozen one beside it, and the same images for both."""

    def __init__(self):
        classes, alone = ClassRange(0, CLASSES), Collectives(1, 0)
        head = Classifier(LossSpec(scale=8.0), classes, initial_centers(classes, EMBEDDING, seed=1), alone)
        optimizer = OptimizerSpec(learning_rate=RATE, momentum=0.9, weight_decay=DECAY)
        scaled = GradientStep(Backbone(), head, alone, loss_scale=DynamicLossScale())
        self.whole = TrainStep(scaled, optimizer, clip_norm=5.0)
        self.frozen = FrozenStep(self.whole)
        self.images = np.random.default_rng(5).integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
        self.labels = np.arange(BATCH, dtype=np.int32)

    @property
    def backbone(self):
        return self.whole.gradient_step.backbone

    def run(self, step, **told):
        return step.launch(self.images, self.labels, RATE, **told).result()

    def state(self):
        """Weights, momentum and statistics; both that are kept and those that the network itself has."""
        named = {f"{number}": weight for number, weight in enumerate(self.whole.gradient_step.weights)}
        named["centers"] = self.whole.gradient_step.classifier.centers
        arrays = {name: weight.asnumpy().copy() for name, weight in named.items()}
        arrays |= {f"momentum of {name}": array for name, array in self.whole.update.host_momentum(named).items()}
        arrays |= {name: value.asnumpy().copy() for name, value in self.backbone.parameters_and_names()}
        return arrays | {"kept": self.whole.statistics.host_vector()}


@pytest.fixture(scope="module")
def trained():
    """Steps whose momentum and statistics are no longer those of a fresh network, with both graphs compiled."""
    set_context(mode=GRAPH_MODE)
    steps = Steps()
    for step in (steps.frozen, steps.whole, steps.whole):
        assert steps.run(step).is_applied
    yield steps
    set_context(mode=PYNATIVE_MODE)


def differing(before, after):
    return {name for name, array in before.items() if array.tobytes() != after[name].tobytes()}


def test_only_the_centres_and_their_momentum_change(trained):
    before = trained.state()
    assert trained.run(trained.frozen).is_applied
    assert differing(before, trained.state()) == {"centers", "momentum of centers"}


def embeddings_in_use(state, images):
    """The network written down in NumPy: running statistics, no dropout."""
    pooled = ((images.astype(np.float64) - 127.5) / 127.5).reshape(BATCH, 3, 4, 28, 4, 28).mean(axis=(3, 5))
    x = pooled.reshape(BATCH, 48) @ state["dense.weight"].T + state["dense.bias"]
    x = (x - state["norm.moving_mean"]) / np.sqrt(state["norm.moving_variance"] + 1e-5)
    return (x * state["norm.gamma"] + state["norm.beta"]).astype(np.float32)


def test_the_centres_follow_the_embeddings_of_the_network_in_use(trained):
    before = trained.state()
    embeddings = embeddings_in_use(before, trained.images)
    loss, _, gradient = trained.whole.gradient_step.classifier(Tensor(embeddings), Tensor(trained.labels))
    result = trained.run(trained.frozen)
    velocity = 0.9 * before["momentum of centers"] + gradient.asnumpy() + DECAY * before["centers"]
    np.testing.assert_allclose(trained.state()["centers"], before["centers"] - RATE * velocity, rtol=1e-5, atol=1e-6)
    assert result.loss == pytest.approx(float(loss.asnumpy()), rel=1e-5)
    assert result.embedding_norm == pytest.approx(np.linalg.norm(embeddings, axis=1).mean(), rel=1e-5)


def test_a_whole_step_after_it_trains_the_backbone_with_the_statistics_of_its_batch(trained):
    trained.run(trained.frozen)
    before = trained.state()
    assert trained.run(trained.whole).is_applied
    assert differing(before, trained.state()) >= {"0", "momentum of 0", "norm.moving_mean", "kept", "centers"}
    before = trained.state()
    trained.run(trained.frozen)
    assert differing(before, trained.state()) == {"centers", "momentum of centers"}, "and the other way round"


def test_votes_and_waits_travel_as_in_a_whole_step(trained):
    result = trained.run(trained.frozen, votes=StepVotes(save=True, saving_bits=1, keep=True), wait=1.5)
    assert (result.votes, result.waits) == (StepVotes(stop=False, save=True, saving_bits=1, keep=True), (1.5,))


def test_no_loss_scale_is_told_of_where_none_could_fall(trained):
    assert trained.run(trained.whole).loss_scale == INITIAL
    assert trained.run(trained.frozen).loss_scale is None


def test_numbers_that_are_not_finite_change_nothing_to_the_bit(trained):
    before = trained.state()
    places = {
        "the embeddings": trained.backbone.factor,
        "the class centres": trained.whole.gradient_step.classifier.centers,
    }
    for name, place in places.items():
        sound = place.asnumpy().copy()
        place.set_data(Tensor(np.full_like(sound, np.inf)))
        result = trained.run(trained.frozen)
        assert (result.is_applied, str(result.fault)) == (False, f"{name} not finite on rank 0")
        place.set_data(Tensor(sound))
    assert differing(before, trained.state()) == set()


@pytest.fixture(scope="module")
def sampled():
    """What a whole step that draws a share of the classes finds and leaves, its images taken at once.

    Its embeddings are those of the network in use, by the normalisation's fixed statistics.
    """
    set_context(mode=GRAPH_MODE)
    whole = small_step.small_step(ALONE, 1, is_sampled=True)
    result = small_step.launch_share(whole, small_step.split_for(1, 1), 0, *many_classes())
    yield result, small_step.state(whole)
    set_context(mode=PYNATIVE_MODE)


def many_classes():
    images, labels = small_step.small_batch()
    return images, labels * (small_step.MANY // small_step.CLASSES)


def test_a_share_of_the_classes_and_micro_batches_give_the_centres_of_a_whole_step_at_once(sampled):
    """47 images in two micro-batches have a row that only fills up."""
    expected, expected_state = sampled
    whole, after = small_step.small_step(ALONE, 2, is_sampled=True), []
    before, frozen, split = small_step.state(whole), FrozenStep(whole), small_step.split_for(1, 2)
    for number in range(2):
        found = small_step.launch_share(frozen, split, 0, *many_classes(), number)
        after.append(small_step.state(whole))
        if number == 0:
            assert found.loss == pytest.approx(expected.loss, rel=1e-5)
            assert found.embedding_norm > 0
            assert found.compared == expected.compared
    for name in ("centers", "momentum of centers"):
        np.testing.assert_allclose(after[0][name], expected_state[name], rtol=0, atol=1e-5, err_msg=name)
    assert differing(before, after[1]) == {"centers", "momentum of centers"}
    moved = [(after[n]["centers"] != (before, after[0])[n]["centers"]).any(axis=1) for n in range(2)]
    drawn = [ClassDraw(3, class_range(small_step.MANY, 1, 0), small_step.SHARE).at(number) for number in range(2)]
    shown = np.isin(np.arange(small_step.MANY), many_classes()[1])
    for number in range(2):
        np.testing.assert_array_equal(moved[number], drawn[number] | shown)
    assert expected.compared == moved[0].sum()
    assert (drawn[0] != drawn[1]).any()
