"""Pair sets that are judged in shards."""

import numpy as np
import pytest

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import InvalidInput
from arcface_evaluator.evaluation import from_images
from arcface_evaluator.report.entries import result_of
from arcface_faces.embedding.embedder import InProcessEmbedder
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_trainer.training.pair_shard import open_pair_shard
from support.builders.verification_set import corner_network, encoded_image, write_pairs, write_set

EVERYTHING = 10_000


@pytest.fixture
def evaluation(tmp_path):
    write_pairs(tmp_path / "small.bin", 13)
    write_pairs(tmp_path / "large.bin", 41)
    return RunEvaluation(directory=str(tmp_path), sets=["small", "large"])


def judged(evaluation, most_pairs, ranks, batch_size=5):
    shares = [open_pair_shard(evaluation, most_pairs, ranks, rank, batch_size) for rank in range(ranks)]
    return shares[0].results(np.stack([share.distances(corner_network) for share in shares]))


@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 64])
def test_any_number_of_ranks_finds_what_the_evaluator_finds(evaluation, tmp_path, ranks):
    sets = [read_pair_set(tmp_path / f"{name}.bin") for name in evaluation.sets]
    expected = [result_of(report) for report in from_images(sets, InProcessEmbedder(lambda: corner_network, 7))]
    assert judged(evaluation, EVERYTHING, ranks) == expected


def test_of_too_many_pairs_each_set_gives_a_share(evaluation):
    assert [result.pairs for result in judged(evaluation, most_pairs=40, ranks=2)] == [10, 30]


def test_a_set_keeps_a_pair_for_each_fold(evaluation):
    assert [result.pairs for result in judged(evaluation, most_pairs=1, ranks=1)] == [10, 10]


def test_the_same_pairs_are_looked_at_each_time(evaluation):
    assert judged(evaluation, 30, ranks=3) == judged(evaluation, 30, ranks=2)


def test_chosen_pairs_keep_their_truth_values(evaluation):
    (_, large) = open_pair_shard(evaluation, 40, world_size=1, rank=0, batch_size=5).sets
    assert len(set(large.pairs.tolist())) == 30
    np.testing.assert_array_equal(large.is_same, large.pairs % 2 == 0)


def test_a_missing_set_is_named(evaluation, tmp_path):
    (tmp_path / "large.bin").unlink()
    with pytest.raises(InvalidInput, match=r"large\.bin: is missing"):
        open_pair_shard(evaluation, EVERYTHING, world_size=1, rank=0, batch_size=5)


def test_a_set_of_something_else_is_refused_before_the_training(evaluation, tmp_path):
    write_set(tmp_path / "large.bin", [b"no image"] * 20, [True, False] * 5)
    with pytest.raises(InvalidInput, match=r"large\.bin: image 0: does not decode"):
        open_pair_shard(evaluation, EVERYTHING, world_size=1, rank=0, batch_size=5)


def test_a_damaged_image_is_told_by_the_rank_that_would_look_at_it(evaluation, tmp_path):
    sound = [encoded_image(seed) for seed in range(82)]
    write_set(tmp_path / "large.bin", [*sound[:-1], b"no image"], [pair % 2 == 0 for pair in range(41)])
    open_pair_shard(evaluation, EVERYTHING, world_size=2, rank=0, batch_size=5)
    with pytest.raises(InvalidInput, match=r"large\.bin: image 81: does not decode"):
        open_pair_shard(evaluation, EVERYTHING, world_size=2, rank=1, batch_size=5)
