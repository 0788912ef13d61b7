"""A step in micro-batches is the step in one batch; several ranks at it: tests/training/test_ranks_agree.py."""

import numpy as np
import pytest

from arcface_trainer.distributed.collectives import World
from arcface_trainer.step.votes import StepVotes
from support.small_step import TOTAL, gradients, launch_share, small_batch, small_step, split_for, state

pytestmark = pytest.mark.usefixtures("graph_mode")
ALONE = World(1, 0)
PARTS = 4
"""Of 47 images: 12, 12, 12 and 11, and a row that fills up."""


def run(step, parts, images, labels):
    return launch_share(step, split_for(1, parts), 0, images, labels)


def test_loss_gradients_and_update_are_those_of_one_batch():
    whole, split = small_step(ALONE, 1), small_step(ALONE, PARTS)
    expected, found = run(whole, 1, *small_batch()), run(split, PARTS, *small_batch())
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    by_name = gradients(split)
    for name, gradient in gradients(whole).items():
        assert np.abs(gradient).max() > 1e-3, "large enough to tell a sum from a mean"
        np.testing.assert_allclose(by_name[name], gradient, rtol=0, atol=1e-5, err_msg=name)
    run(whole, 1, *small_batch()), run(split, PARTS, *small_batch())
    after = state(split)
    for name, array in state(whole).items():
        np.testing.assert_allclose(after[name], array, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("place", [0, TOTAL - 1], ids=["first micro-batch", "last micro-batch"])
def test_numbers_that_are_not_finite_in_one_micro_batch_leave_out_the_whole_step_and_no_more(place):
    disturbed, undisturbed = small_step(ALONE, PARTS), small_step(ALONE, PARTS)
    images, labels = small_batch()
    black = images.copy()
    black[place] = 0
    run(disturbed, PARTS, images, labels), run(undisturbed, PARTS, images, labels)
    before = state(disturbed)
    assert not run(disturbed, PARTS, black, labels).is_applied
    for name, array in state(disturbed).items():
        assert array.tobytes() == before[name].tobytes(), name
    assert run(disturbed, PARTS, images, labels).is_applied
    run(undisturbed, PARTS, images, labels)
    after = state(disturbed)
    for name, array in state(undisturbed).items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_statistics_move_once_a_step_by_the_mean_over_its_micro_batches():
    step = small_step(ALONE, PARTS, is_frozen=False)
    images, labels = small_batch()
    rows, _ = split_for(1, PARTS).rows(0)
    pooled = ((images.astype(float) - 127.5) / 127.5)[:, :, ::28, ::28].reshape(TOTAL, 48)
    backbone = step.gradient_step.backbone
    outputs = pooled[rows] @ backbone.dense.weight.asnumpy().T.astype(float) + backbone.dense.bias.asnumpy()
    run(step, PARTS, images, labels)
    expected = 0.1 * outputs.reshape(PARTS, -1, outputs.shape[1]).mean(axis=1).mean(axis=0)
    np.testing.assert_allclose(state(step)["norm.moving_mean"], expected, rtol=1e-4, atol=1e-6)


def test_the_ranks_vote_once_a_step():
    step, (images, labels) = small_step(ALONE, PARTS), small_batch()
    rows, _ = split_for(1, PARTS).rows(0)
    result = step.launch(
        images[rows], labels[rows], 0.1, StepVotes(save=True, saving_bits=1, keep=True), wait=1.5
    ).result()
    assert (result.votes, result.waits) == (StepVotes(save=True, saving_bits=1, keep=True), (1.5,))
