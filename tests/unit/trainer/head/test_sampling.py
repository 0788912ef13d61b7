"""Which classes a step compares with, and the head on them alone; several ranks are under tests/training."""

import numpy as np
import pytest
from mindspore import Tensor

from arcface_api.class_sampling import draw_capacity, row_capacity
from arcface_api.resource.spec import LossSpec
from arcface_faces.checkpoint import ClassRange, class_range
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head import sampling
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.head.sampling import ClassDraw, RowSelection, SampledClassifier
from support.softmax import margin_softmax

CLASSES, RATE = 100_003, 0.1


def draw(step, seed=3, classes=CLASSES, world_size=1, rank=0):
    return ClassDraw(seed, class_range(classes, world_size, rank), RATE).at(step)


@pytest.mark.parametrize("world_size", [2, 3, 4, 64])
def test_what_is_drawn_does_not_depend_on_the_number_of_ranks(world_size):
    parts = [draw(7, world_size=world_size, rank=rank) for rank in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(parts), draw(7))


def test_a_class_is_drawn_at_the_rate_whatever_is_drawn_beside_it_and_before():
    """Within 5 standard deviations: the share, the share of those drawn twice, of neighbours, of seeds."""
    first, second, other = draw(0), draw(1), draw(0, seed=4)
    deviation = np.sqrt(RATE * (1 - RATE) / CLASSES)
    assert first.mean() == pytest.approx(RATE, abs=5 * deviation)
    for both in (first & second, first & other, first[1:] & first[:-1]):
        assert both.mean() == pytest.approx(RATE**2, abs=5 * np.sqrt(RATE**2 / CLASSES))


def test_every_class_is_drawn_sooner_or_later():
    assert np.any([draw(step, classes=1000) for step in range(200)], axis=0).all()


def test_the_draw_is_the_same_on_every_machine():
    """Computed by whole numbers of any size, with a SplitMix64 whose first output of seed 0 is e220a8397b1dcdaf."""
    assert np.flatnonzero(ClassDraw(0, ClassRange(0, 40), 0.2).at(0)).tolist() == [0, 7, 8, 12, 13, 16, 19, 32, 38]


def test_a_draw_beyond_what_fits_is_cut(monkeypatch):
    monkeypatch.setattr(sampling, "draw_capacity", lambda _classes, _rate: 5)
    assert draw(0, classes=1000).sum() == 5


def select(drawn, labels, classes, rows):
    """Class of each row, whether it is compared with, row of each label; of a rank whose first class is number 100."""
    selection = RowSelection(ClassRange(100, classes), rows, Collectives(1, 0))
    labels = Tensor(100 + np.array(labels, np.int32))
    selection(labels, Tensor(np.isin(np.arange(classes), drawn)))
    return [each.asnumpy().tolist() for each in (selection.class_K, selection.is_used(), selection.rows(labels))]


def test_rows_are_the_drawn_classes_and_those_of_the_batch_and_then_others():
    places, is_used, rows = select([1, 5], [6, -1, 1, 6, 10, 9], classes=10, rows=7)
    assert places == [1, 5, 6, 9, 0, 2, 3]
    assert is_used == [True] * 4 + [False] * 3
    assert rows == [2, -1, 0, 2, -1, 3]


@pytest.mark.parametrize(
    ("drawn", "labels"),
    [
        pytest.param([], [3, 1, 2, 0], id="more classes in the batch than are drawn"),
        pytest.param([], [-1, 7, 9, 8], id="none at all"),
        pytest.param([0, 1, 2, 3], [0, 1, 2, 3], id="all of them"),
    ],
)
def test_no_row_stands_twice_and_every_class_of_the_batch_has_one(drawn, labels):
    places, is_used, rows = select(drawn, labels, classes=4, rows=4)
    assert sorted(places) == [0, 1, 2, 3]
    here = [label for label in labels if 0 <= label < 4]
    assert [places[row] for row in rows if row >= 0] == here
    assert sorted(np.array(places)[is_used].tolist()) == sorted({*drawn, *here})


@pytest.mark.parametrize("loss", [LossSpec(), LossSpec(interclass_filter=0.2)], ids=["arcface", "filter"])
def test_loss_and_gradients_are_those_of_a_softmax_over_these_classes(loss):
    random = np.random.default_rng(3)
    embeddings, centers = random.normal(size=(6, 16)), random.normal(size=(40, 16))
    labels, drawn = np.array([4, 0, 39, 39, 3, 1]), [0, 7, 8, 20]
    compared = sorted({*drawn, *labels.tolist()})
    places_in_compared = np.array([compared.index(label) for label in labels])
    expected_loss, by_embedding, by_center = margin_softmax(loss, embeddings, centers[compared], places_in_compared)

    classifier = Classifier(loss, ClassRange(0, 40), centers.astype(np.float32), Collectives(1, 0))
    sampled = SampledClassifier(classifier, ClassDraw(0, ClassRange(0, 40), 0.05), images=6)
    labels = Tensor(labels.astype(np.int32))
    sampled.selection(labels, Tensor(np.isin(np.arange(40), drawn)))
    outputs = sampled(Tensor(embeddings.astype(np.float32)), labels)
    measured_loss, d_embeddings, d_rows = [output.asnumpy() for output in outputs]
    places, is_used = sampled.selection.class_K.asnumpy(), sampled.selection.is_used().asnumpy()
    assert len(places) == row_capacity(40, 0.05, 6) > len(compared)
    assert places[is_used].tolist() == compared
    assert measured_loss == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_allclose(d_embeddings, by_embedding, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(d_rows[is_used], by_center, rtol=1e-4, atol=2e-5)
    assert (d_rows[~is_used] == 0).all()


def test_a_draw_of_a_million_classes_fits_its_rows():
    million = ClassDraw(0, ClassRange(0, 10**6), 0.1)
    counts = [million.at(step).sum() for step in range(20)]
    assert max(counts) <= draw_capacity(10**6, 0.1) < 103_000
    assert len(set(counts)) > 1
