"""Loss and gradients of several ranks equal those of one rank over the joined batch, backbone and head together."""

from pathlib import Path

import numpy as np
import pytest

from support.processes.real_ranks import run_on_ranks
from support.small_step import CLASSES, MANY, SHARE, small_batch

SCRIPT = Path(__file__).parent / "gradients_of_a_rank.py"


class Ranks:
    """What each rank of each gang left; a gang runs once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, world_size: int, suffix: str = "") -> list[dict[str, np.ndarray]]:
        files = [self.folder / f"{world_size}-{rank}{suffix}.npz" for rank in range(world_size)]
        if not files[0].exists():
            run_on_ranks(SCRIPT, world_size, str(self.folder))
        return [dict(np.load(file)) for file in files]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> Ranks:
    return Ranks(tmp_path_factory.mktemp("gradients"))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_loss_and_every_gradient_equal_those_of_one_rank(ranks, world_size):
    (alone,), gang = ranks(1), ranks(world_size)
    for rank in gang:
        assert rank["buckets"] >= 3
        assert rank["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in alone:
            if name.startswith("backbone"):
                assert_equal_gradient(rank[name], alone[name])
    assert_equal_gradient(np.concatenate([rank["centers"] for rank in gang]), alone["centers"])


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_micro_batches_on_any_number_of_ranks_give_loss_and_gradients_of_one_batch(ranks, world_size, accumulation):
    """47 images of 11 classes: but for the one batch on one rank, some rows only fill up."""
    (alone,), gang = ranks(1, "-parts-1"), ranks(world_size, f"-parts-{accumulation}")
    for rank in gang:
        assert rank["micro_batches"] == accumulation
        assert rank["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in alone.keys() - {"loss", "micro_batches", "centers"}:
            assert_equal_gradient(rank[name], alone[name])
    assert_equal_gradient(np.concatenate([rank["centers"] for rank in gang]), alone["centers"])


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_step_draws_the_same_classes_on_any_number_of_ranks_and_in_any_number_of_parts(
    ranks, world_size, accumulation
):
    (alone,), gang = ranks(1, "-sampled-1"), ranks(world_size, f"-sampled-{accumulation}")
    for rank in gang:
        assert rank["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in alone.keys() - {"loss", "centers"}:
            assert_equal_gradient(rank[name], alone[name])
    gradient = np.concatenate([rank["centers"] for rank in gang])
    assert_equal_gradient(gradient, alone["centers"])
    np.testing.assert_array_equal(gradient.any(axis=1), alone["centers"].any(axis=1))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_step_of_the_head_alone_has_loss_and_gradient_of_a_whole_step_on_one_rank(ranks, world_size):
    """The whole step's network goes by fixed statistics, too, so that both see the same embeddings."""
    (alone,), gang = ranks(1, "-parts-1"), ranks(world_size, "-frozen")
    for rank in gang:
        assert rank["is_applied"]
        assert rank["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert not any(rank[name].any() for name in alone.keys() - {"loss", "micro_batches", "centers"})
    assert_equal_gradient(np.concatenate([rank["centers"] for rank in gang]), alone["centers"])


def test_the_classes_that_a_step_compares_with_are_a_share_of_all_and_those_of_its_images(ranks):
    (alone,) = ranks(1, "-sampled-1")
    compared = np.flatnonzero(alone["centers"].any(axis=1))
    shown = np.unique(small_batch()[1]) * (MANY // CLASSES)
    assert np.isin(shown, compared).all()
    assert 0.7 * SHARE * MANY < len(compared) < 1.5 * SHARE * MANY
    assert min(np.abs(alone["centers"][shown]).max(axis=1)) > 1e-3


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_step_that_is_not_finite_on_one_rank_changes_nothing_on_any(ranks, world_size):
    for rank, skipped in zip(ranks(world_size), ranks(world_size, "-skipped"), strict=True):
        assert rank["is_applied"]
        assert not skipped["is_applied"]
        assert skipped["changed"].tolist() == []


NAMES = {
    "loss": "the loss",
    "backward": "the gradient of ",
    "centers": "the gradient of the class centres",
    "statistics": "the running statistics of the normalisations",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_all_ranks_name_tensor_and_rank_of_what_is_not_finite_on_one_of_them(ranks, world_size, name):
    for rank in ranks(world_size, "-named"):
        assert str(rank[f"{name} fault"]).startswith(NAMES[name])
        assert str(rank[f"{name} fault"]).endswith(f" not finite on rank {world_size - 1}")
        assert not rank[f"{name} is_applied"]
        assert rank[f"{name} changed"].tolist() == []
        assert rank["at last"], "a rank that was left in another state would not agree with the others"


def test_every_rank_learns_what_one_rank_votes(ranks):
    found = [rank["votes"].tolist() for world_size in (1, 2) for rank in ranks(world_size)]
    assert found == [[1, 0, 1, 1], [1, 0, 2, 1], [1, 0, 2, 1]]


def test_every_rank_learns_how_long_each_waited(ranks):
    assert [rank["waits"].tolist() for world_size in (1, 2) for rank in ranks(world_size)] == [
        [1.5],
        [1.5, 2.5],
        [1.5, 2.5],
    ]


def assert_equal_gradient(measured, expected):
    assert measured.shape == expected.shape
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-5)


def test_gradients_are_large_enough_to_tell_a_sum_from_a_mean(ranks):
    """A factor of two in any layer would stand out from the tolerance of 1e-5."""
    (alone,) = ranks(1)
    largest = {name: np.abs(values).max() for name, values in alone.items() if name.startswith(("backbone", "centers"))}
    # Shifts right before a batch normalisation: their gradient is zero in exact arithmetic.
    shifts = {name for name in largest if name.endswith(("norm3.beta", "projection.1.beta", " norm.beta", ".bias"))}
    assert len(shifts) == 14
    assert max(largest[name] for name in shifts) < 1e-6
    assert min(largest[name] for name in largest.keys() - shifts) > 1e-4
