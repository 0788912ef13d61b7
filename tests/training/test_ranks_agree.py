"""Loss and gradients of several ranks equal those of one rank over the joined batch, backbone and head together."""

from pathlib import Path

import numpy as np
import pytest

from support.processes.real_ranks import run_on_ranks

SCRIPT = Path(__file__).parent / "gradients_of_a_rank.py"
LOSS, VOTES, WAITS = 0, slice(3, 6), slice(6, -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gradients")


@pytest.fixture(scope="module")
def alone(folder):
    run_on_ranks(SCRIPT, 1, str(folder))
    return dict(np.load(folder / "1-0.npz"))


@pytest.mark.parametrize("world_size", [2, 4])
def test_loss_and_every_gradient_equal_those_of_one_rank(alone, folder, world_size):
    run_on_ranks(SCRIPT, world_size, str(folder))
    ranks = [dict(np.load(folder / f"{world_size}-{rank}.npz")) for rank in range(world_size)]
    for rank in ranks:
        assert rank["summary"][LOSS] == pytest.approx(alone["summary"][LOSS], rel=1e-5)
        for name in alone:
            if name.startswith("backbone"):
                assert_equal_gradient(rank[name], alone[name])
    assert_equal_gradient(np.concatenate([rank["centers"] for rank in ranks]), alone["centers"])


def test_every_rank_learns_what_one_rank_votes(alone, folder):
    assert alone["summary"][VOTES].tolist() == [1, 0, 1]
    ranks = [np.load(folder / f"2-{rank}.npz")["summary"] for rank in range(2)]
    assert [summary[VOTES].tolist() for summary in ranks] == [[1, 0, 2], [1, 0, 2]]


def test_every_rank_learns_how_long_each_waited(alone, folder):
    assert alone["summary"][WAITS].tolist() == [1.5]
    ranks = [np.load(folder / f"2-{rank}.npz")["summary"] for rank in range(2)]
    assert [summary[WAITS].tolist() for summary in ranks] == [[1.5, 2.5], [1.5, 2.5]]


def assert_equal_gradient(measured, expected):
    assert measured.shape == expected.shape
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-5)


def test_gradients_are_large_enough_to_tell_a_sum_from_a_mean(alone):
    """A factor of two in any layer would stand out from the tolerance of 1e-5."""
    largest = [np.abs(values).max() for name, values in alone.items() if name != "summary"]
    # The rest are shifts right before a batch normalisation, whose gradient is zero in exact arithmetic.
    assert np.mean(np.array(largest) > 1e-3) > 0.85
