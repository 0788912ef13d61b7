"""When the training verifies, and what it calls the best."""

import numpy as np
import pytest

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import Diverged
from arcface_api.resource.spec import ModelSpec
from arcface_api.resource.status import PairResult, Verification
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.network.inference import as_function
from arcface_trainer.network.parameters import host_arrays, named_parameters
from arcface_trainer.training.verification import Verifier, build_verifier, is_better, most_pairs
from support.builders.training_plan import make_plan

MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)
PLAN = make_plan(model=MODEL, steps_per_epoch=10, epochs=5)


def found(step, *accuracies, pairs=6000):
    results = [
        PairResult(dataset=f"set-{number}", accuracy=accuracy, std=0.0, pairs=pairs)
        for number, accuracy in enumerate(accuracies)
    ]
    return Verification(epoch=step // 10, step=step, results=results)


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
    return Verifier(sets, 20, PLAN, backbone, as_function(backbone), state, World(1, 0))


def test_it_is_due_at_the_ends_of_every_so_many_epochs_and_at_the_end():
    verifier = make_verifier()
    assert [step for step in range(51) if verifier.is_due(step)] == [20, 40, 50]


def test_what_was_verified_before_a_restart_is_not_verified_again():
    verifier = make_verifier()
    verifier.last = found(40, 0.9)
    assert not verifier.is_due(40)
    assert verifier.is_due(50)


def test_the_best_one_stays_until_a_better_one_comes():
    verifier = make_verifier(0.8, 0.9, 0.85)
    for step in (20, 40, 50):
        verifier.verify(step)
    assert (verifier.last.step, verifier.best.step) == (50, 40)
    best = verifier.best_checkpoint
    assert (best.path, best.step, best.accuracy) == ("step-00000040", 40, 0.9)


def test_the_network_that_is_judged_has_the_weights_of_the_moment():
    verifier = make_verifier(0.8, 0.9, 0.85)
    for step in (20, 40, 50):
        verifier.verify(step)
    first, second, third = verifier.pairs.answers
    assert not np.allclose(first, second)
    assert not np.allclose(second, third)
    np.testing.assert_array_equal(
        host_arrays(named_parameters(verifier.backbone))["embedding.weight"],
        verifier.state.networks[2]["embedding.weight"],
    )


def test_a_network_that_gives_no_numbers_has_diverged():
    verifier = make_verifier(0.8)
    verifier.network = lambda images: np.full((len(images), 16), np.nan, np.float32)
    with pytest.raises(Diverged, match=r"embeddings of the verification are not finite .*learningRate"):
        verifier.verify(20)


def test_checkpoints_are_compared_by_the_mean_over_the_sets():
    assert is_better(found(40, 0.9, 0.8), found(20, 0.95, 0.7))
    assert not is_better(found(40, 0.9, 0.7), found(20, 0.9, 0.7))


def test_figures_on_other_pairs_give_way():
    assert is_better(found(40, 0.5), found(20, 0.9, 0.9))
    assert is_better(found(40, 0.5, pairs=30), found(20, 0.9))


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
