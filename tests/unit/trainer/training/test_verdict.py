"""What follows from the numbers of the steps, and what it names."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from arcface_trainer.step.faults import CENTERS, IN_A_SUM, Fault
from arcface_trainer.step.loss_scale import CEILING, FLOOR, INITIAL
from arcface_trainer.step.votes import NO_VOTES, StepResult
from arcface_trainer.training.verdict import MOST_SKIPS, WINDOW, Action, History, verdict

CLASSES = 1000
FRESH = History(CLASSES)
GOOD = StepResult(3.0, 1.0, is_applied=True, votes=NO_VOTES, waits=(0.0,), ended_at=0.0)
EMBEDDINGS = Fault("the embeddings", 2, is_scaled=False)
GRADIENT = Fault("the gradient of layer3..output", 1)


def bad(fault=EMBEDDINGS, loss=math.nan, loss_scale=None):
    return replace(GOOD, loss=loss, is_applied=False, fault=fault, loss_scale=loss_scale)


def judge(results, history=FRESH, first=100):
    """Verdicts on steps in a row, up to the first that ends the training's course."""
    found = []
    for step, result in enumerate(results, first):
        judged, history = verdict(result, step, history)
        found.append(judged)
        if judged.action in {Action.ROLL_BACK, Action.DIVERGED}:
            break
    return found


def moving(count):
    return [replace(GOOD, loss=30.0 + step % 3) for step in range(count)]


def test_a_few_steps_without_numbers_are_left_out_and_no_more():
    found = judge([*moving(5), *[bad()] * (MOST_SKIPS - 1), *moving(3 * WINDOW)])
    assert [each.action for each in found].count(Action.SKIP) == MOST_SKIPS - 1
    assert {each.action for each in found} == {Action.GO_ON, Action.SKIP}
    assert found[5].cause == "the embeddings not finite on rank 2 at step 105"


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([bad()] * WINDOW, id="in a row"),
        pytest.param([bad(), GOOD] * WINDOW, id="every other one"),
    ],
)
def test_many_of_them_send_the_training_back_within_a_log_interval_and_name_where_it_began(results):
    last = judge([*moving(WINDOW), *results])[-1]
    assert (last.action, last.first_step, last.rank) == (Action.ROLL_BACK, 100 + WINDOW, 2)
    assert last.cause.startswith(
        f"the embeddings not finite on rank 2 at step {100 + WINDOW} and 10 of 20 steps up to "
    )
    assert len(judge([*moving(WINDOW), *results])) <= 2 * WINDOW


def test_a_training_that_went_back_once_has_diverged():
    last = judge([bad()] * WINDOW, replace(FRESH, has_rolled_back=True))[-1]
    assert (last.action, last.rank) == (Action.DIVERGED, 2)
    everywhere = judge([bad(replace(EMBEDDINGS, rank=None))] * WINDOW, replace(FRESH, has_rolled_back=True))[-1]
    assert (everywhere.action, everywhere.rank) == (Action.DIVERGED, None)


def halved(scale, count):
    """Results of so many steps in a row whose gradients are not finite, from a loss scale down to its floor."""
    return [bad(GRADIENT, loss=3.0, loss_scale=max(FLOOR, scale / 2**number)) for number in range(1, count + 1)]


def test_overflows_that_a_smaller_loss_scale_may_cure_count_for_nothing():
    from_first_to_floor = halved(INITIAL, 16)
    assert from_first_to_floor[-1].loss_scale == FLOOR
    fits = replace(GOOD, loss_scale=FLOOR)
    assert {each.action for each in judge([*from_first_to_floor, fits])[:-1]} == {Action.SKIP}
    assert {each.action for each in judge([*halved(CEILING, 1), *[replace(GOOD, loss_scale=CEILING / 2)] * 3])[1:]} == {
        Action.GO_ON
    }


@pytest.mark.parametrize(
    ("scale", "steps"), [(CEILING, WINDOW), (INITIAL, WINDOW), (8.0, 3 + MOST_SKIPS)], ids=["ceiling", "initial", "low"]
)
def test_a_row_of_halvings_that_cure_nothing_ends_within_a_log_interval_and_is_named_by_its_first_step(scale, steps):
    found = judge([*moving(7), *halved(scale, 5 * WINDOW)])
    assert (found[-1].action, len(found)) == (Action.ROLL_BACK, 7 + steps)
    assert (found[-1].first_step, found[-1].rank) == (107, 1)
    assert found[-1].cause.startswith("the gradient of layer3..output not finite on rank 1 at step 107 and ")


@pytest.mark.parametrize("fault", [EMBEDDINGS, Fault(CENTERS, 0, is_scaled=False)])
def test_no_scale_cures_what_it_does_not_multiply(fault):
    falling = [bad(fault, loss=3.0, loss_scale=2.0 ** (15 - number)) for number in range(15)]
    found = judge([GOOD, *falling])
    assert (found[-1].action, found[-1].first_step, len(found)) == (Action.ROLL_BACK, 101, 1 + MOST_SKIPS)


@pytest.mark.parametrize("scale", [2.0**16, FLOOR])
def test_a_scale_that_has_not_fallen_cures_nothing(scale):
    """While the backbone is frozen it stays where it is."""
    found = judge([replace(GOOD, loss_scale=scale), *[bad(IN_A_SUM, loss=30.0, loss_scale=scale)] * WINDOW])
    assert (found[-1].action, found[-1].first_step, len(found)) == (Action.ROLL_BACK, 101, 1 + MOST_SKIPS)


def test_no_scale_cures_a_loss_that_is_not_finite():
    assert judge([bad(GRADIENT, loss_scale=1024.0)] * WINDOW)[-1].action is Action.ROLL_BACK


@pytest.mark.parametrize(
    "loss", [69.0776, 37.59, 7.0], ids=["the clamp of others", "ours of zero embeddings", "near chance"]
)
def test_a_loss_that_stands_still_above_chance_is_found_within_a_log_interval(loss):
    flat = [replace(GOOD, loss=loss * (1 + 5e-7 * (step % 2))) for step in range(WINDOW)]
    last = judge([*moving(7), *flat])[-1]
    assert (last.action, last.first_step) == (Action.ROLL_BACK, 107)
    assert last.cause.startswith(f"the loss stands still at {loss:.4f} on all ranks from step 107 to ")


@pytest.mark.parametrize("about", [20, 100, 10_000])
@pytest.mark.parametrize(("margin_cost", "is_found"), [(30.7, True), (8.0, True), (-0.5, False)])
def test_a_collapsed_loss_stands_still_though_each_step_draws_another_number_of_classes(margin_cost, is_found, about):
    """Embeddings without length: the loss is ln(others + exp(-cost)) + cost; 30.7 is the cost of ArcFace's margin."""
    counts = np.random.default_rng(0).integers(about * 99 // 100 - 1, about * 101 // 100 + 1, WINDOW)
    losses = np.log(counts - 1 + np.exp(-margin_cost)) + margin_cost
    assert np.ptp(losses) > 1e-3, "else the losses themselves stood still"
    drawn = [replace(GOOD, loss=float(loss), compared=float(count)) for loss, count in zip(losses, counts, strict=True)]
    found = judge([*moving(7), *drawn])
    assert (found[-1].action is Action.ROLL_BACK, len(found)) == (is_found, 7 + WINDOW)
    moved = [replace(each, loss=each.loss + 1e-3 * (step % 2)) for step, each in enumerate(drawn)]
    assert {each.action for each in judge(moved)} == {Action.GO_ON}


@pytest.mark.parametrize("loss", [0.0, 1e-7, 0.5, math.log(CLASSES)])
def test_a_network_that_has_learnt_may_stand_still(loss):
    assert {each.action for each in judge([replace(GOOD, loss=loss)] * 3 * WINDOW)} == {Action.GO_ON}


def test_one_identity_leaves_nothing_to_learn_and_is_no_divergence():
    found = judge([replace(GOOD, loss=0.0)] * 3 * WINDOW, History(1))
    assert {each.action for each in found} == {Action.GO_ON}


RESULTS = st.builds(
    lambda loss, is_applied, scale, fault: replace(
        GOOD, loss=loss, is_applied=is_applied and math.isfinite(loss), loss_scale=scale, fault=fault
    ),
    st.floats(width=32) | st.just(30.0),
    st.booleans(),
    st.sampled_from([None, FLOOR, 1024.0]),
    st.sampled_from([EMBEDDINGS, GRADIENT]),
)


@given(st.lists(RESULTS, max_size=60), st.booleans())
def test_any_course_of_numbers_has_a_verdict_and_the_same_one_again(results, has_rolled_back):
    history = replace(FRESH, has_rolled_back=has_rolled_back)
    found = judge(results, history)
    assert found == judge(results, history)
    for each, result in zip(found, results, strict=False):
        assert result.is_applied or each.action is not Action.GO_ON
        assert each.action is not (Action.ROLL_BACK if has_rolled_back else Action.DIVERGED)
        assert each.action is Action.GO_ON or "step 1" in each.cause
