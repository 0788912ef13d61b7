"""How the images of a step are dealt out over any number of ranks and their micro-batches."""

import numpy as np
import pytest

from arcface_trainer.data.split import BatchSplit


def everything(split):
    """Places of all ranks' rows, and whether each is an image."""
    places, is_image = zip(*(split.rows(rank) for rank in range(split.world_size)), strict=True)
    return np.concatenate(places), np.concatenate(is_image)


@pytest.mark.parametrize("total", [7, 8, 24, 25, 96, 1024])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("most", [2, 3, 8, 128, 5000])
def test_every_image_of_a_step_is_taken_once_and_in_its_order(total, world_size, most):
    split = BatchSplit(total, world_size, most)
    places, is_image = everything(split)
    assert places[is_image].tolist() == list(range(total))
    assert split.micro_batch_size <= most
    assert len(places) == world_size * split.micro_batches * split.micro_batch_size


@pytest.mark.parametrize("total", [7, 25, 1024])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("most", [2, 3, 8, 128])
def test_a_micro_batch_is_short_of_one_row_at_most_which_repeats_the_row_before(total, world_size, most):
    split = BatchSplit(total, world_size, most)
    places, is_image = everything(split)
    assert is_image.reshape(-1, split.micro_batch_size).sum(axis=1).min() >= split.micro_batch_size - 1
    (filled,) = np.nonzero(~is_image)
    np.testing.assert_array_equal(places[filled], places[filled - 1])


@pytest.mark.parametrize(("accumulation", "most"), [(1, 128), (2, 64), (4, 32)])
def test_all_ranks_take_what_the_job_says_and_nothing_is_filled_up(accumulation, most):
    split = BatchSplit(8 * 128, 8, most)
    assert (split.micro_batches, split.micro_batch_size) == (accumulation, most)
    assert everything(split)[1].all()


@pytest.mark.parametrize(
    ("world_size", "parts", "size"), [(8, 1, 128), (7, 2, 74), (6, 2, 86), (3, 3, 114), (1, 8, 128)]
)
def test_what_is_left_of_a_gang_takes_more_micro_batches_that_are_no_larger(world_size, parts, size):
    """8 ranks of 128 images: 3 that are left take 3 x 3 micro-batches of 114 rows, 2 of which fill up."""
    split = BatchSplit(1024, world_size, 128)
    assert (split.micro_batches, split.micro_batch_size) == (parts, size)


def test_ranks_take_blocks_that_lie_side_by_side():
    split = BatchSplit(10, 2, 3)
    assert [split.rows(rank)[0].tolist() for rank in range(2)] == [[0, 1, 2, 3, 4, 5], [6, 7, 7, 8, 9, 9]]
    assert split.rows(1)[1].tolist() == [True, True, False, True, True, False]


def test_more_ranks_than_the_job_asks_for_share_the_same_images():
    places, is_image = everything(BatchSplit(8, 3, 4))
    assert places[is_image].tolist() == list(range(8))
