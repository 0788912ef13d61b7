"""The protocol against cases worked out by hand, a slow literal computation, and published numbers for real faces."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.vectors import read_embeddings
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_faces.pairs.protocol import (
    THRESHOLDS,
    correct_pairs,
    fold_accuracy,
    mean_norm,
    squared_distances,
    verify,
)

ALTERNATING = np.arange(20) % 2 == 0


def on_the_unit_circle(distances):
    """(2N, 1, 2): pairs whose squared distances are as given."""
    angles = np.arccos(1 - np.asarray(distances) / 2)
    second = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first = np.broadcast_to([1.0, 0.0], second.shape)
    return np.stack([first, second], axis=1).reshape(-1, 1, 2).astype(np.float32)


def slow_folds(distances, is_same):
    """The definition, pair by pair: contiguous folds, first best threshold on the rest, strictly less."""
    accuracies, chosen = [], []
    folds = np.array_split(range(len(distances)), 10)
    for fold in folds:
        rest = [pair for pair in range(len(distances)) if pair not in fold]

        def accuracy(pairs, threshold):
            return sum((distances[pair] < threshold) == is_same[pair] for pair in pairs) / len(pairs)

        best = max(range(400), key=lambda number: (accuracy(rest, THRESHOLDS[number]), -number))
        chosen.append(THRESHOLDS[best])
        accuracies.append(accuracy(fold, THRESHOLDS[best]))
    return accuracies, chosen


def test_thresholds_are_400_from_0_to_3_99():
    assert len(THRESHOLDS) == 400
    assert THRESHOLDS[0] == 0
    assert THRESHOLDS[-1] == pytest.approx(3.99)


@pytest.mark.parametrize(
    ("distances", "folds", "std"),
    [
        pytest.param([0.5, 2.5] * 10, [1.0] * 10, 0.0, id="all right"),
        pytest.param([2.5, 0.5] * 10, [0.5] * 10, 0.0, id="all inverted"),
        pytest.param([2.6, 2.5, *[0.5, 2.5] * 9], [0.5, *[1.0] * 9], 0.15, id="one pair too far"),
    ],
)
def test_cases_on_the_unit_circle(distances, folds, std):
    report = verify("case", on_the_unit_circle(distances), ALTERNATING)
    assert report.folds.accuracies.tolist() == folds
    assert report.folds.mean == pytest.approx(np.mean(folds))
    assert report.folds.std == pytest.approx(std)


def test_distance_equal_to_the_threshold_is_not_the_same_person():
    distances, is_same = np.array([1.0, 0.99, 1.01]), np.array([True, True, False])
    assert correct_pairs(distances, is_same, np.array([1.0, 1.005])).tolist() == [2, 3]


@settings(max_examples=30)
@given(st.data())
def test_folds_equal_the_literal_computation(data):
    pairs = data.draw(st.integers(10, 37))
    coarse = st.integers(0, 40).map(lambda tenths: THRESHOLDS[min(tenths * 10, 399)])  # ties, and right on thresholds
    distances = np.array(data.draw(st.lists(coarse | st.floats(0, 4), min_size=pairs, max_size=pairs)))
    is_same = np.array(data.draw(st.lists(st.booleans(), min_size=pairs, max_size=pairs)))
    folds = fold_accuracy(distances, is_same)
    accuracies, thresholds = slow_folds(distances, is_same)
    np.testing.assert_allclose(folds.accuracies, accuracies, rtol=1e-15)
    assert folds.thresholds.tolist() == thresholds


def test_smallest_of_equally_good_thresholds_is_taken():
    folds = fold_accuracy(np.array([0.5, 2.5] * 10), ALTERNATING)
    assert folds.thresholds.tolist() == [THRESHOLDS[51]] * 10


def test_first_folds_are_one_larger_where_pairs_do_not_divide():
    distances = np.array([3.0, 3.0, *[0.5] * 10])  # the first two pairs are wrong; 12 pairs make folds of 2, 2, 1, ...
    folds = fold_accuracy(distances, np.ones(12, bool))
    assert folds.accuracies.tolist() == [0.0, *[1.0] * 9]


def test_order_of_pairs_is_part_of_the_protocol():
    distances = np.array([2.6, 2.5, *[0.5, 2.5] * 8, 2.6, 2.5])
    same = ALTERNATING
    order = np.array([0, 18, *range(1, 18), 19])
    assert fold_accuracy(distances, same).std != fold_accuracy(distances[order], same[order]).std


def test_views_are_added_before_they_get_unit_length():
    embeddings = np.array([[[3, 4], [1, 0]], [[0, 2], [2, 0]]], np.float32)  # sums (4, 4) and (2, 2)
    assert squared_distances(embeddings)[0] == pytest.approx(0, abs=1e-15)
    assert squared_distances(embeddings[:, :1])[0] == pytest.approx(2 - 2 * 0.8)


def test_sum_of_zeros_is_at_distance_1_from_every_unit_vector():
    embeddings = np.array([[[3, 4], [-3, -4]], [[0, 2], [2, 0]]], np.float32)
    assert squared_distances(embeddings)[0] == pytest.approx(1)


def test_norm_is_the_mean_over_images_and_views():
    embeddings = np.array([[[3, 4], [1, 0]], [[0, 2], [0, 0]]], np.float32)
    assert mean_norm(embeddings) == (5 + 1 + 2 + 0) / 4


def test_results_do_not_depend_on_blocks(monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(60, 2, 8)).astype(np.float32)
    whole = squared_distances(embeddings), mean_norm(embeddings)
    monkeypatch.setattr("arcface_faces.pairs.protocol.BLOCK", 2)
    np.testing.assert_array_equal(squared_distances(embeddings), whole[0])
    assert mean_norm(embeddings) == pytest.approx(whole[1], rel=1e-14)


def test_accuracy_without_flip_is_that_of_the_original_images():
    originals = on_the_unit_circle([0.5, 2.5] * 10)
    mirrored = on_the_unit_circle([2.5, 0.5] * 10) * np.float32(10)
    report = verify("case", np.concatenate([originals, mirrored], axis=1), ALTERNATING)
    assert report.flip
    assert report.folds_without_flip is not None
    assert report.folds_without_flip.mean == 1.0
    assert report.folds.mean == 0.5


def test_fewer_pairs_than_folds_are_refused():
    with pytest.raises(InvalidInput, match="tiny: has 9 pairs; verification in 10 folds needs 10"):
        verify("tiny", on_the_unit_circle([0.5] * 9), np.ones(9, bool))


def test_real_faces_have_the_published_accuracy(faces):
    expected = json.loads((faces / "sface" / "expected_sface.json").read_text())["pairs"]
    pair_set = read_pair_set(faces / "lfw_dev.bin")
    embeddings = read_embeddings(faces / "sface" / "sface_pairs.npy", len(pair_set))
    report = verify(pair_set.name, embeddings, pair_set.is_same)
    assert report.folds.mean == pytest.approx(expected["accuracy"], abs=1e-9)
    assert report.folds.std == pytest.approx(expected["std"], abs=1e-9)
    assert report.xnorm == pytest.approx(expected["xnorm_single_flip"], rel=1e-6)
    assert report.flip == expected["flip"]
