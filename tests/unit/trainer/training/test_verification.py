"""Pair sets judged in shards, when the training verifies, and what it calls the best."""

import numpy as np
import pytest

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_evaluator.report.entries import result_of
from arcface_evaluator.verifying import embed_all, verify_pairs
from arcface_faces.embedding.embedder import InProcessEmbedder
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_trainer.checkpoint.state import Verifications
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import as_function, build_backbone, host_arrays, named_parameters
from arcface_trainer.training.loss_check import LossCheck
from arcface_trainer.training.verdict import RollBackDue
from arcface_trainer.training.verification import Verifier, build_verifier, most_pairs, open_pair_shard
from support.builders.training_plan import make_plan
from support.builders.verification_set import corner_network, encoded_image, write_pairs, write_set
from support.builders.verifications import found
from support.fakes.rank_threads import run_ranks

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
    embedder = InProcessEmbedder(lambda: corner_network, 7)
    expected = [result_of(verify_pairs(each, embed_all(each, lambda: embedder))).in_status for each in sets]
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


MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)
PLAN = make_plan(model=MODEL, steps_per_epoch=10, epochs=5)
CHECK = LossCheck(PLAN)


class Scripted:
    """Sets whose results are known beforehand; it keeps what the network answers to grey images."""

    def __init__(self, *accuracies):
        self.accuracies = list(accuracies)
        self.answers = []

    def distances(self, network):
        self.answers.append(network(np.full((2, 3, 112, 112), 100, np.uint8)))
        return np.array([0.25, np.nan])

    def results(self, distances):
        np.testing.assert_array_equal(distances, [[0.25, np.nan]])
        return found(0, self.accuracies.pop(0)).results


class State:
    """Of a training whose network is another at each look."""

    def __init__(self):
        self.networks = [host_arrays(named_parameters(build_backbone(MODEL))) for _ in range(3)]
        self.looks = 0

    def backbone(self, _world):
        self.looks += 1
        return self.networks[self.looks - 1]


def make_verifier(*accuracies):
    backbone = build_backbone(MODEL)
    sets, state = Scripted(*accuracies), State()
    return Verifier(sets, 20, PLAN, backbone, as_function(backbone), state, World(1, 0), Verifications())


def test_it_is_due_at_the_ends_of_every_so_many_epochs_and_at_the_end():
    verifier = make_verifier()
    assert [step for step in range(51) if verifier.is_due(step)] == [20, 40, 50]


def test_each_rank_tells_how_long_it_took_for_a_pair():
    verifier = make_verifier(0.8)
    verifier.verify(20, CHECK)
    (seconds,) = verifier.pair_seconds
    assert seconds > 0


def test_images_are_counted_while_they_are_embedded():
    images = np.zeros((6, 112, 112, 3), np.uint8)
    verifier, counts = make_verifier(), []
    verifier.network = lambda batch: counts.append(verifier.embedded_images()) or np.ones((len(batch), 8), np.float32)
    for _ in range(2):
        verifier._embed(images)
    assert (counts, verifier.embedded_images()) == ([0, 6], 12)


def test_what_was_verified_before_a_restart_is_not_verified_again():
    verifier = make_verifier()
    verifier.verifications.add(found(40, 0.9))
    assert not verifier.is_due(40)
    assert verifier.is_due(50)


def test_the_best_one_stays_until_a_better_one_comes():
    verifier = make_verifier(0.8, 0.9, 0.85)
    for step in (20, 40, 50):
        verifier.verify(step, CHECK)
    assert (verifier.verifications.last.step, verifier.verifications.best.step) == (50, 40)


def test_the_network_that_is_judged_has_the_weights_of_the_moment():
    verifier = make_verifier(0.8, 0.9, 0.85)
    for step in (20, 40, 50):
        verifier.verify(step, CHECK)
    first, second, third = verifier.pairs.answers
    assert not np.allclose(first, second)
    assert not np.allclose(second, third)
    np.testing.assert_array_equal(
        host_arrays(named_parameters(verifier.backbone))["embedding.weight"],
        verifier.state.networks[2]["embedding.weight"],
    )


def test_all_ranks_go_back_where_the_network_gives_no_numbers_on_one(evaluation):
    def rank_main(world):
        verifier = make_verifier()
        verifier.pairs = open_pair_shard(evaluation, EVERYTHING, world.size, world.rank, 5)
        verifier.network = spoiled_network if world.rank == 1 else corner_network
        verifier.world = world
        with pytest.raises(RollBackDue) as due:
            verifier.verify(20, CHECK)
        return due.value.verdict.cause, due.value.verdict.rank, verifier.verifications.last

    told = ("the embeddings of the verification not finite on rank 1 after step 20", 1, None)
    assert run_ranks(3, rank_main) == [told] * 3


def spoiled_network(images):
    return np.full((len(images), 16), np.nan, np.float32)


@pytest.mark.parametrize(
    ("images", "pairs"),
    [pytest.param(8_000, 120, id="quickstart"), pytest.param(5_822_653, 87_339, id="MS1MV2: more than five sets have")],
)
def test_a_verification_takes_a_fiftieth_of_the_computation(images, pairs):
    """Training on an image is three forward passes, a pair with its mirrored views four."""
    assert most_pairs(images) == pairs
    assert 4 * pairs <= 0.02 * 3 * images < 4 * (pairs + 1)


@pytest.mark.parametrize(
    "evaluation",
    [None, RunEvaluation(directory="x", sets=["lfw"]), RunEvaluation(directory="x", sets=[], every_epochs=1)],
)
def test_a_job_that_does_not_ask_has_no_verifier(evaluation):
    assert build_verifier(evaluation, PLAN, 8, None, None) is None
