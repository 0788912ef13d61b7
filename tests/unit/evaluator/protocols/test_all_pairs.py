"""All against all beside the whole matrix of scores."""

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_evaluator.protocols.all_pairs import compare_all


def slowly(views, labels, fars):
    """The whole matrix; the lowest threshold above which at most that share of the impostors scores."""
    sums = views.astype(np.float64).sum(axis=1)
    lengths = np.linalg.norm(sums, axis=1)
    scores = ((sums @ sums.T) / np.maximum(np.outer(lengths, lengths), 1e-300)).round(12)
    is_pair, is_same = np.triu(np.ones(scores.shape, bool), k=1), labels == labels[:, None]
    genuine, impostors = scores[is_pair & is_same], np.sort(scores[is_pair & ~is_same])
    found = []
    for far in fars:
        threshold = next(t for t in np.unique(impostors) if np.mean(impostors > t) <= far)
        found.append((np.mean(genuine > threshold), threshold))
    return len(genuine), len(impostors), found


@pytest.fixture
def small_blocks(monkeypatch):
    for name, size in {"ROWS": 16, "COLUMNS": 32, "FETCHED": 50}.items():
        monkeypatch.setattr(f"arcface_evaluator.protocols.all_pairs.{name}", size)


@pytest.mark.parametrize("decimals", [0, 1, 5])  # of few digits: many scores are equal
@pytest.mark.parametrize("views", [1, 2])
def test_rates_are_those_of_the_whole_matrix(small_blocks, decimals, views):
    random = np.random.default_rng(views)
    labels = random.integers(0, 30, 150)
    centres = random.standard_normal((30, 1, 4))
    drawn = (1.5 * centres[labels] + random.standard_normal((150, views, 4))).round(decimals).astype(np.float32)
    fars = (1e-3, 1e-2, 0.1)
    found = compare_all(drawn, labels, fars)
    genuine, impostors, expected = slowly(drawn, labels, fars)
    assert (found.images, found.labels, found.genuine, found.impostors) == (150, 30, genuine, impostors)
    for rate, (tar, threshold) in zip(found.rates, expected, strict=True):
        assert rate.tar == tar
        assert rate.threshold == pytest.approx(threshold, abs=1e-14)


def test_impostors_that_only_float64_tells_apart_are_told_apart(small_blocks):
    """Angles a ten-millionth apart: float32 products are equal, and the order of the pairs counts for nothing."""
    angles = np.concatenate([[0.0], 0.5 + 1e-7 * np.arange(400)])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)[:, None]
    labels = np.arange(401)
    labels[1:401] = 1  # all but the first are one person
    found = compare_all(vectors, labels, [0.5])
    others = vectors[1:, 0].astype(float)
    scores = others @ vectors[0, 0] / np.linalg.norm(others, axis=1)
    assert len(np.unique(scores.astype(np.float32))) < 0.9 * len(np.unique(scores.round(12)))
    assert found.rates[0].threshold == next(
        t for t in np.sort(scores.round(12)) if np.mean(scores.round(12) > t) <= 0.5
    )


def test_the_order_of_the_images_changes_nothing(small_blocks):
    random = np.random.default_rng(4)
    views, labels = random.standard_normal((120, 2, 16)).astype(np.float32), np.arange(120) // 3
    order = random.permutation(120)
    assert compare_all(views[order], labels[order], [1e-2]) == compare_all(views, labels, [1e-2])


def test_too_few_impostors_cannot_tell():
    found = compare_all(np.eye(6, dtype=np.float32)[:, None], np.array([0, 0, 1, 1, 2, 2]), [0.1, 1e-2])
    assert [rate.tar for rate in found.rates] == [0.0, None]  # 12 impostors, all scores equal


def test_embeddings_that_hardly_differ_are_told(small_blocks, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.protocols.all_pairs.SPARE", 500)
    with pytest.raises(InvalidInput, match=r"score 1\.000000 or nearly so: the embeddings hardly differ"):
        compare_all(np.ones((200, 1, 8), np.float32), np.arange(200) // 2)


@pytest.mark.parametrize(
    ("labels", "said"), [([1, 1, 1], "3 pairs of images have one label and 0 two"), ([1, 2, 3], "0 ")]
)
def test_both_kinds_of_pairs_are_needed(labels, said):
    with pytest.raises(InvalidInput, match=said):
        compare_all(np.ones((3, 1, 2), np.float32), np.array(labels))
