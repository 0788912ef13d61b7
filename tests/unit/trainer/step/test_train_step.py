"""Real steps on a small network, against the same update written down in NumPy."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from arcface_api.resource.spec import LossSpec, ModelSpec, OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives, World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import running_statistics
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep, build_train_step
from arcface_trainer.step.votes import NO_VOTES, StepVotes, encode_votes
from support.builders.training_plan import make_plan

pytestmark = pytest.mark.usefixtures("graph_mode")
CLASSES, EMBEDDING, BATCH = 6, 8, 4
RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
ONE_TENSOR_EACH = 1
"""Bytes of a bucket that holds a single parameter, however small."""


class Backbone(nn.Cell):
    """The smallest network that has weights, and statistics that a spoiled factor reaches."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.flatten = nn.Flatten()
        self.dense = nn.Dense(48, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)
        self.factor = Parameter(Tensor(np.float32(1.0)), name="features_factor", requires_grad=False)

    def construct(self, images):
        return self.norm(self.dense(self.flatten(self.pool(images))) * self.factor)


class Spoiled(nn.Cell):
    """A classifier whose results are each multiplied by a number.

    The number is a parameter and not a constant: MindSpore may give a second network the compiled graph, constants
    included, of an earlier one of the same shape.
    """

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.centers = classifier.centers
        self.factor = Parameter(Tensor(np.float32(1.0)), name="centers_factor", requires_grad=False)
        self.loss_factor = Parameter(Tensor(np.float32(1.0)), name="loss_factor", requires_grad=False)
        self.backward_factor = Parameter(Tensor(np.float32(1.0)), name="backward_factor", requires_grad=False)

    def construct(self, embeddings, labels):
        loss, d_embeddings, d_centers = self.classifier(embeddings, labels)
        return loss * self.loss_factor, d_embeddings * self.backward_factor, d_centers * self.factor


def make_step(clip_norm=5.0, **buckets):
    classes = ClassRange(0, CLASSES)
    alone = Collectives(1, 0)
    head = Spoiled(Classifier(LossSpec(scale=8.0), classes, initial_centers(classes, EMBEDDING, seed=1), alone))
    optimizer = OptimizerSpec(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    return TrainStep(GradientStep(Backbone(), head, alone, **buckets), optimizer, clip_norm)


def weights(step):
    named = {f"{number}": weight for number, weight in enumerate(step.gradient_step.weights)}
    return named | {"centers": step.gradient_step.classifier.centers}


def state(step):
    """Weights, momentum and statistics."""
    named = weights(step)
    arrays = {name: weight.asnumpy().copy() for name, weight in named.items()}
    arrays |= {f"momentum of {name}": array for name, array in step.update.host_momentum(named).items()}
    return arrays | step.statistics.by_name(step.statistics.host_vector())


def batch():
    random = np.random.default_rng(5)
    return random.integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8), np.arange(BATCH, dtype=np.int32)


def run(step):
    return step.launch(*batch(), rate=RATE).result()


def gradients(step):
    """Of each weight, as the graph of the gradients alone gives them."""
    images, labels = batch()
    _, vectors = step.gradient_step(Tensor(images), Tensor(labels), encode_votes(NO_VOTES, 0.0, 1, 0))
    groups = [group.weights for group in step.update.groups]
    names = {id(weight): name for name, weight in weights(step).items()}
    found = {}
    for group, vector in zip(groups, vectors, strict=True):
        pieces = group.pieces(vector.asnumpy())
        found |= {names[id(weight)]: piece for weight, piece in zip(group.parameters, pieces, strict=True)}
    return found


def test_a_step_changes_weights_centres_momentum_and_statistics():
    step = make_step()
    before = state(step)
    assert run(step).is_applied
    after = state(step)
    assert [name for name in before if (before[name] == after[name]).all()] == []


@pytest.mark.parametrize("clip_norm", [0.01, 5.0])
def test_two_steps_are_those_of_sgd_with_momentum_written_down(clip_norm):
    step = make_step(clip_norm)
    expected, velocity = state(step), dict.fromkeys(weights(step), 0.0)
    for _ in range(2):
        found = gradients(step)
        norm = np.sqrt(sum((found[name].astype(float) ** 2).sum() for name in found if name != "centers"))
        for name, gradient in found.items():
            factor = 1.0 if name == "centers" else min(1.0, clip_norm / norm)
            velocity[name] = MOMENTUM * velocity[name] + factor * gradient + DECAY * expected[name]
            expected[name] = expected[name] - RATE * velocity[name]
        run(step)
    after = state(step)
    for name in velocity:
        np.testing.assert_allclose(after[name], expected[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after[f"momentum of {name}"], velocity[name], rtol=1e-5, atol=1e-6)


def test_buckets_change_nothing():
    one, several = make_step(), make_step(bucket_bytes=ONE_TENSOR_EACH)
    assert (len(one.update.groups), len(several.update.groups)) == (2, 5)
    for parameter, other in zip(weights(one).values(), weights(several).values(), strict=True):
        other.set_data(Tensor(parameter.asnumpy()))
    run(one), run(several)
    after = state(several)
    for name, array in state(one).items():
        np.testing.assert_allclose(array, after[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["centers", "features"])
def test_a_step_that_is_not_finite_changes_nothing_to_the_bit(place, factor):
    step = make_step()
    run(step)  # momentum and statistics are no longer those of a fresh network
    before = state(step)
    cell = step.gradient_step.classifier if place == "centers" else step.gradient_step.backbone
    cell.factor.set_data(Tensor(np.float32(factor)))
    assert not run(step).is_applied
    for name, array in state(step).items():
        assert array.tobytes() == before[name].tobytes(), name
    cell.factor.set_data(Tensor(np.float32(1.0)))
    assert run(step).is_applied


OVERFLOWING = 1e25
"""Its square is Inf: so is the variance of a batch, which divides it to zero and leaves the loss finite."""


@pytest.mark.parametrize(
    ("place", "factor", "value", "fault"),
    [
        ("features", "factor", np.nan, "the embeddings not finite on rank 0"),
        ("features", "factor", OVERFLOWING, "the running statistics of the normalisations not finite on rank 0"),
        ("head", "loss_factor", np.inf, "the loss not finite on rank 0"),
        ("head", "factor", np.nan, "the gradient of the class centres not finite on rank 0"),
        ("head", "backward_factor", np.nan, "the gradient of norm.beta not finite on rank 0"),
    ],
)
def test_whatever_is_not_finite_is_named_and_leaves_the_state_as_it_was_to_the_bit(place, factor, value, fault):
    step = make_step()
    run(step)
    before = state(step)
    cell = step.gradient_step.classifier if place == "head" else step.gradient_step.backbone
    getattr(cell, factor).set_data(Tensor(np.float32(value)))
    result = run(step)
    assert (result.is_applied, str(result.fault)) == (False, fault)
    for name, array in state(step).items():
        assert array.tobytes() == before[name].tobytes(), name


def test_a_gradient_that_overflows_in_a_layer_is_named_by_the_tensor_that_the_backward_pass_came_to_first():
    """The features vary so little that the normalisation multiplies gradients by hundreds on their way back."""
    step = make_step()
    step.gradient_step.backbone.factor.set_data(Tensor(np.float32(0.01)))
    largest = np.abs(gradients(step)["3"]).max()
    step.gradient_step.classifier.backward_factor.set_data(Tensor(np.float32(1e37 / largest)))
    assert np.isfinite(gradients(step)["3"]).all()
    assert str(run(step).fault) == "the gradient of dense.bias not finite on rank 0"


def test_a_step_that_is_left_out_leaves_no_trace_in_the_steps_after_it():
    undisturbed, disturbed = make_step(), make_step()
    for parameter, other in zip(weights(undisturbed).values(), weights(disturbed).values(), strict=True):
        other.set_data(Tensor(parameter.asnumpy()))
    cell = disturbed.gradient_step.backbone
    run(undisturbed), run(disturbed)
    cell.factor.set_data(Tensor(np.float32(np.inf)))
    assert not run(disturbed).is_applied
    cell.factor.set_data(Tensor(np.float32(1.0)))
    run(undisturbed), run(disturbed)
    after = state(disturbed)
    for name, array in state(undisturbed).items():
        assert array.tobytes() == after[name].tobytes(), name


def test_statistics_are_running_means_over_the_steps_that_were_applied():
    step, expected = make_step(), np.zeros(EMBEDDING)
    images = batch()[0].astype(float)
    pooled = ((images - 127.5) / 127.5).reshape(BATCH, 3, 4, 28, 4, 28).mean(axis=(3, 5)).reshape(BATCH, 48)
    backbone = step.gradient_step.backbone
    for factor in (1.0, np.inf, 1.0, 1.0):
        outputs = pooled @ backbone.dense.weight.asnumpy().T.astype(float) + backbone.dense.bias.asnumpy()
        backbone.factor.set_data(Tensor(np.float32(factor)))
        if run(step).is_applied:
            expected = 0.9 * expected + 0.1 * outputs.mean(axis=0)
    np.testing.assert_allclose(state(step)["norm.moving_mean"], expected, rtol=1e-4, atol=1e-6)


def test_every_running_statistic_of_a_network_moves_once_a_step():
    """By a tenth of the way to the batch's own: MindSpore warns that it has dropped side effects of this graph.

    Where weights stay as they are, the batch's statistics do, too, and each way is nine tenths of the one before.
    """
    model = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=EMBEDDING)
    plan = make_plan(10, 1, model=model, class_count=CLASSES, total_batch_size=BATCH)
    step = build_train_step(plan, TrainingSpec(), World(1, 0))
    kept = list(running_statistics(step.gradient_step.backbone).values())
    assert len(kept) == 62  # IResNet-18 has 31 batch normalisations, a mean and a variance each
    seen = [[item.asnumpy().copy() for item in kept]]
    for _ in range(2):
        assert step.launch(*batch(), 0.0).result().is_applied
        seen.append([item.asnumpy().copy() for item in kept])
    for item, first, second, third in zip(kept, *seen, strict=True):
        assert (first != second).any(), item.name
        np.testing.assert_allclose(third - second, 0.9 * (second - first), rtol=1e-3, atol=1e-5, err_msg=item.name)


def test_results_stay_what_they_were_when_later_steps_are_launched():
    at_once, later = make_step(), make_step()
    for parameter, other in zip(weights(at_once).values(), weights(later).values(), strict=True):
        other.set_data(Tensor(parameter.asnumpy()))
    expected = [run(at_once).loss for _ in range(5)]
    launched = [later.launch(*batch(), rate=RATE) for _ in range(5)]
    assert [each.result().loss for each in launched] == expected
    assert len(set(expected)) == 5


def test_the_host_learns_what_the_rank_votes_and_waited():
    step = make_step()
    result = step.launch(*batch(), RATE, StepVotes(save=True), wait=1.5).result()
    assert (result.votes, result.waits) == (StepVotes(stop=False, save=True), (1.5,))
