"""The head on one rank against an independent float64 computation; several ranks are under tests/training."""

import numpy as np
import pytest
from mindspore import Tensor

from arcface_api.resource.spec import LossSpec
from arcface_faces.checkpoint import ClassRange, class_range
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import CENTER_BLOCK, Classifier, initial_centers
from support.softmax import margin_softmax


def run(loss: LossSpec, embeddings, centers, labels):
    classifier = Classifier(loss, ClassRange(0, len(centers)), centers.astype(np.float32), Collectives(1, 0))
    outputs = classifier(Tensor(embeddings.astype(np.float32)), Tensor(np.array(labels, np.int32)))
    return [output.asnumpy() for output in outputs]


def on_circle(*cosines):
    return np.array([[cosine, np.sqrt(1 - cosine * cosine)] for cosine in cosines])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        pytest.param(LossSpec(), 11.289831, id="L2 arcface"),
        pytest.param(LossSpec(type="cosface", margin=0.4), 6.401660, id="L2 cosface"),
        pytest.param(LossSpec(scale=8.0), 1.69983030, id="L3"),
    ],
)
def test_loss_of_the_reference_cases(loss, expected):
    measured, _, _ = run(loss, np.array([[3.0, 0.0]]), on_circle(0.5, 0.2, -0.1), [0])
    assert measured == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(LossSpec(), id="arcface"),
        pytest.param(LossSpec(type="cosface"), id="cosface"),
        pytest.param(LossSpec(type="combined", m1=1.1, m2=0.2, m3=0.1), id="combined"),
        pytest.param(LossSpec(type="combined", m1=2.0, m2=0.2, m3=0.1), id="combined in a straight line"),
        pytest.param(LossSpec(interclass_filter=0.25), id="filter"),
        pytest.param(LossSpec(interclass_filter=1e-6), id="filter that leaves few"),
    ],
)
def test_loss_and_gradients_equal_a_float64_computation(loss):
    random = np.random.default_rng(3)
    embeddings, centers = random.normal(size=(6, 16)), random.normal(size=(10, 16))
    embeddings[0] = 0.3 * embeddings[0] - centers[4]  # angle + margin beyond pi
    labels = [4, 0, 9, 9, 3, 1]
    expected = margin_softmax(loss, embeddings, centers, np.array(labels))
    for measured, wanted in zip(run(loss, embeddings, centers, labels), expected, strict=True):
        np.testing.assert_allclose(measured, wanted, rtol=1e-4, atol=2e-5)


def test_another_identity_above_the_limit_does_not_count():
    """Two images of one person under two labels push the person's centre and its double no longer apart."""
    centers = on_circle(0.9, 0.8, -0.5)
    loss = LossSpec(scale=8.0, interclass_filter=0.7)
    measured, _, d_centers = run(loss, np.array([[1.0, 0.0]]), centers, [0])
    expected, _, _ = run(LossSpec(scale=8.0), np.array([[1.0, 0.0]]), centers[[0, 2]], [0])
    assert measured == pytest.approx(expected, rel=1e-6)
    assert (d_centers[1] == 0).all()
    assert (d_centers[[0, 2]] != 0).any(axis=1).all()


def test_straight_through_gradient_of_the_reference_case():
    """L3: dL/dcos (-6.53828378, 5.99447708, .54380669) pulled back to the embedding (1, 0)."""
    centers = on_circle(0.5, 0.2, -0.1)
    _, d_embedding, _ = run(LossSpec(scale=8.0, gradient="straightThrough"), np.array([[1.0, 0.0]]), centers, [0])
    expected = np.array([-6.53828378, 5.99447708, 0.54380669]) @ centers
    assert d_embedding[0, 0] == pytest.approx(0, abs=1e-5)
    assert d_embedding[0, 1] == pytest.approx(expected[1], rel=1e-5)


def test_blocks_of_classes_follow_the_reference():
    """D2."""
    starts = [class_range(85742, 8, rank) for rank in range(8)]
    assert [start for start, _ in starts] == [0, 10718, 21436, 32154, 42872, 53590, 64308, 75025]
    assert [size for _, size in starts] == [10718] * 6 + [10717] * 2
    assert [class_range(10, 4, rank) for rank in range(4)] == [(0, 3), (3, 3), (6, 2), (8, 2)]


@pytest.mark.parametrize("world_size", [2, 3])
def test_fresh_centers_do_not_depend_on_the_number_of_ranks(world_size):
    count = 2 * CENTER_BLOCK + 7
    whole = initial_centers(ClassRange(0, count), 4, seed=5)
    parts = [initial_centers(class_range(count, world_size, rank), 4, seed=5) for rank in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.std() == pytest.approx(0.01, rel=0.02)
