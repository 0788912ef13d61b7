from dataclasses import replace

import numpy as np
import pytest

from arcface_api.errors import Diverged
from arcface_api.resource.spec import InitFromSpec, LossSpec, ModelSpec
from arcface_trainer.step.loss_scale import FLOOR
from arcface_trainer.step.votes import NO_VOTES, StepResult
from arcface_trainer.training.loss_check import LossCheck, initial_loss_warning
from arcface_trainer.training.verdict import MOST_SKIPS, WINDOW, RollBackDue
from support.builders.training_plan import make_plan


def fresh_loss(loss, margin, dimension, classes, images):
    """Loss of random unit vectors against random centres with this angular margin: float64, no code of ours."""
    random = np.random.default_rng(classes)

    def unit(count):
        return (x := random.normal(size=(count, dimension))) / np.linalg.norm(x, axis=1, keepdims=True)

    cosines = unit(images) @ unit(classes).T
    own = np.arange(images), random.integers(0, classes, images)
    logits = loss.scale * cosines
    logits[own] = loss.scale * np.cos(np.arccos(cosines[own]) + margin)
    peaks = logits.max(axis=1)
    return float((np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks - logits[own]).mean())


SHAPES = [
    pytest.param(64.0, 0.5, 32, 20, 64, id="few classes"),
    pytest.param(64.0, 0.5, 128, 400, 512, id="some classes"),
    pytest.param(64.0, 0.5, 16, 1000, 1024, id="few dimensions"),
    pytest.param(64.0, 0.5, 64, 20_000, 2048, id="many classes and images"),
    pytest.param(64.0, 0.5, 8, 10, 2048, id="fewest dimensions"),
    pytest.param(64.0, 0.5, 512, 20_000, 128, id="the paper's"),
    pytest.param(32.0, 0.3, 128, 955, 64, id="faces of lfw"),
]


@pytest.mark.parametrize(("scale", "margin", "dimension", "classes", "images"), SHAPES)
def test_a_fresh_network_raises_no_warning(scale, margin, dimension, classes, images):
    loss = LossSpec(scale=scale, margin=margin)
    measured = fresh_loss(loss, margin, dimension, classes, images)
    assert initial_loss_warning(measured, loss, classes, dimension, images) is None


@pytest.mark.parametrize(("scale", "margin", "dimension", "classes", "images"), SHAPES)
def test_a_margin_that_is_not_applied_is_noticed(scale, margin, dimension, classes, images):
    loss = LossSpec(scale=scale, margin=margin)
    measured = fresh_loss(loss, 0.0, dimension, classes, images)
    assert "margin is not applied" in initial_loss_warning(measured, loss, classes, dimension, images)


@pytest.mark.parametrize(
    ("measured", "cause"),
    [
        pytest.param(11.4, "margin is not applied", id="plain softmax"),
        pytest.param(69.0776, "not random", id="too high"),
        pytest.param(float("nan"), "not random", id="not a number"),
    ],
)
def test_a_wrong_start_names_the_likely_cause(measured, cause):
    warning = initial_loss_warning(measured, LossSpec(), 85_742, 512, 1024)
    assert warning is not None
    assert cause in warning
    assert "46.0" in warning


def overflow(loss_scale, loss=3.0):
    return StepResult(loss, 1.0, is_applied=False, votes=NO_VOTES, waits=(0.0,), ended_at=0.0, loss_scale=loss_scale)


def test_overflows_that_a_smaller_loss_scale_may_cure_raise_no_alarm():
    check = LossCheck(make_plan())
    for halvings in range(15):
        check.check(overflow(2.0 ** (15 - halvings)), step=halvings + 1)
    assert check.warnings == []


def test_the_first_loss_of_a_fine_tuning_is_not_that_of_a_fresh_network():
    model = ModelSpec(init_from=InitFromSpec(claim_name="models"), embedding_size=16)
    first = StepResult(0.5, 1.0, is_applied=True, votes=NO_VOTES, waits=(0.0,), ended_at=0.0)
    warned = {}
    for each in (model, model.network):
        check = LossCheck(make_plan(model=each))
        check.check(first, step=0)
        warned[each is model] = len(check.warnings)
    assert warned == {True: 0, False: 1}


def test_at_its_floor_an_alarm_names_the_scale_once_and_ten_more_send_the_training_back():
    check = LossCheck(make_plan())
    for step in range(1, MOST_SKIPS):
        check.check(overflow(FLOOR), step)
    floor, skips = check.warnings
    assert floor.startswith("the loss scale is down to its floor of 1 since gradients overflow in float16: lower ")
    assert skips == "9 of the last 9 steps were left out, the last one at step 9: a sum over the ranks not finite"
    check.check(overflow(FLOOR), MOST_SKIPS)
    with pytest.raises(RollBackDue):
        check.check(overflow(FLOOR), MOST_SKIPS + 1)


@pytest.mark.parametrize(("rate", "flat", "is_found"), [(0.1, 5.405, True), (1.0, 5.405, False), (1.0, 7.0, True)])
def test_a_loss_that_stands_still_is_held_against_chance_among_the_classes_that_are_compared(rate, flat, is_found):
    """Of 1,000 classes: ln 1000 is 6.908, ln 103 is 4.635 of a tenth of them and images' own."""
    check = LossCheck(make_plan(class_count=1000, loss=LossSpec(scale=8.0, margin=0.1, sample_rate=rate)))
    still = StepResult(flat, 1.0, is_applied=True, votes=NO_VOTES, waits=(0.0,), ended_at=0.0)
    still = replace(still, compared=None if rate == 1 else 103.0)
    found = []
    for step in range(1, WINDOW + 1):
        try:
            check.check(still, step)
        except RollBackDue as due:
            found.append((step, due.verdict.first_step))
    assert found == ([(WINDOW, 1)] if is_found else [])


@pytest.mark.parametrize(("ranks", "where"), [([2], " on rank 2"), ([0, 1, 2], "")])
def test_a_verification_without_numbers_sends_the_training_back_once_and_ends_it_then(ranks, where):
    check, said = LossCheck(make_plan()), f"the embeddings of the verification not finite{where} after step 20"
    check.check_embeddings([], step=20)
    with pytest.raises(RollBackDue, match=f"^{said}$") as due:
        check.check_embeddings(ranks, step=20)
    assert due.value.verdict.first_step == 19, "the state after step 20 is the one that gave none"
    check.begin_again()
    with pytest.raises(Diverged, match=rf"^{said}, although the training went back once: lower training\.optimizer"):
        check.check_embeddings(ranks, step=20)


def test_after_a_roll_back_the_same_again_is_the_end_and_says_what_to_do():
    check = LossCheck(make_plan())
    check.begin_again()
    for step in range(1, MOST_SKIPS):
        check.check(overflow(None, loss=float("nan")), step)
    with pytest.raises(Diverged, match=r"at step 1 and 10 of 10 steps up to 10, although .* lower training\.optimizer"):
        check.check(overflow(None, loss=float("nan")), MOST_SKIPS)
