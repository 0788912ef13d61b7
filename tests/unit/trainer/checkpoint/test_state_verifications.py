"""Which verification is the best one, and what becomes of it where its checkpoint cannot be saved."""

from arcface_trainer.checkpoint.state import Verifications, is_better
from support.builders.verifications import found


def test_checkpoints_are_compared_by_the_mean_over_the_sets():
    assert is_better(found(40, 0.9, 0.8), found(20, 0.95, 0.7))
    assert not is_better(found(40, 0.9, 0.7), found(20, 0.9, 0.7))


def test_figures_on_other_pairs_give_way():
    assert is_better(found(40, 0.5), found(20, 0.9, 0.9))
    assert is_better(found(40, 0.5, pairs=30), found(20, 0.9))


def verified(*accuracies):
    verifications = Verifications()
    for number, accuracy in enumerate(accuracies, start=1):
        verifications.add(found(10 * number, accuracy))
    return verifications


def test_the_best_one_is_that_of_its_step():
    verifications = verified(0.8, 0.9, 0.85)
    assert [verifications.is_best(step) for step in (10, 20, 30)] == [False, True, False]
    assert verifications.last.step == 30


def test_one_whose_checkpoint_is_lost_is_not_the_best_one_any_more():
    verifications = verified(0.8, 0.9)
    verifications.forget(15)
    assert verifications.best.step == 20
    verifications.forget(20)
    assert verifications.best.step == 10
    verifications.add(found(30, 0.85))
    assert verifications.best.step == 30


def test_the_first_one_may_be_lost_too():
    verifications = verified(0.8)
    verifications.forget(10)
    assert verifications.best is None


def test_until_its_checkpoint_is_there_the_one_before_it_is_told():
    verifications = verified(0.8, 0.9)
    assert verifications.best_until(19).step == 10
    assert verifications.best_until(20).step == 20
    assert Verifications().best_until(20) is None
