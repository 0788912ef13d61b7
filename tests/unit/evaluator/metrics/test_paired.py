"""McNemar's exact test against the binomial sum, intervals against what the counts leave open, and persons."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest

from arcface_evaluator.metrics.paired import (
    AcceptedPairs,
    PersonCounts,
    paired_accuracy_test,
    paired_rate_test,
    paired_test,
)


def judged(both, only_first, only_second, neither):
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def accepted(is_right_SP, *, own_effect=1.0, numbers=(), of_persons=None, slope=0.0):
    """What a model accepts of S persons with P genuine pairs each; its rate changes by `slope` around FAR 0.01."""
    false_accepts = np.zeros(len(is_right_SP), np.int64) if of_persons is None else of_persons
    genuine = np.full(len(is_right_SP), is_right_SP.shape[1])
    return AcceptedPairs(
        genuine=is_right_SP.ravel(),
        false_accepts=np.array(numbers, np.uint32),
        fpr=np.array([0.0, 0.02]),
        tpr=np.array([0.5, 0.5 + slope]),
        impostors=10_000,
        genuine_effect=own_effect,
        impostor_effect=1.0,
        persons=PersonCounts(genuine, is_right_SP.sum(axis=1), false_accepts),
    )


def rates(first, second):
    """The test of two models' genuine pairs at a rate, each of a person of its own."""
    return paired_rate_test(accepted(first[:, None]), accepted(second[:, None]), 0.01)


@pytest.mark.parametrize(("one", "other"), [(0, 5), (1, 9), (12, 30), (250, 300)])
def test_the_probability_is_that_of_coins(one, other):
    coins = one + other
    expected = 2 * sum(comb(coins, heads) for heads in range(one + 1)) / 2**coins
    assert paired_test(*judged(5000, one, other, 10)).probability == pytest.approx(expected)
    assert paired_test(*judged(5000, other, one, 10)).probability == pytest.approx(expected)


@pytest.mark.parametrize("uneven", [0, 1, 8])
def test_equal_counts_decide_nothing(uneven):
    test = paired_test(*judged(100, uneven, uneven, 3))
    assert (test.probability, test.difference, test.verdict) == (1.0, 0.0, "undecided")
    assert test.interval[0] < 0 < test.interval[1]


def test_the_better_one_is_named_where_chance_alone_would_hardly_do_it():
    assert paired_test(*judged(5900, 10, 40, 50)).verdict == "second"
    assert paired_test(*judged(5900, 40, 10, 50)).verdict == "first"
    assert paired_test(*judged(5900, 0, 5, 95)).verdict == "undecided"  # p = 1/16


def test_the_interval_is_that_of_the_difference_of_paired_shares():
    test = paired_test(*judged(5000, 200, 300, 500))
    deviation = np.sqrt((200 + 300) - (300 - 200) ** 2 / 6000) / 6000  # normal approximation
    expected = (100 / 6000 - 1.96 * deviation, 100 / 6000 + 1.96 * deviation)
    assert test.difference == pytest.approx(100 / 6000)
    assert test.interval == pytest.approx(expected, abs=deviation / 10)


@pytest.mark.parametrize("compare", [paired_test, paired_accuracy_test, rates])
def test_an_interval_holds_no_difference_where_nothing_is_decided_and_only_there(compare):
    tests = [compare(*judged(200, one, other, 20)) for one in range(4) for other in range(22)]
    assert {test.interval[0] <= 0 <= test.interval[1] for test in tests if test.verdict == "undecided"} == {True}
    decided = [test for test in tests if test.verdict != "undecided"]
    assert len(decided) > 20
    assert not any(test.interval[0] <= 0 <= test.interval[1] for test in decided)


def test_a_difference_of_shares_is_1_at_most():
    """Of thresholds that are as much luck as hardly anything else, for which the draws go beyond."""
    one, other = (accepted(np.full((60, 30), is_right), slope=0.4) for is_right in (False, True))
    assert paired_rate_test(*(replace(side, impostor_effect=100.0) for side in (one, other)), 0.01).interval[1] == 1


def test_pairs_that_share_persons_tell_as_much_as_fewer_of_strangers():
    many, few = paired_test(*judged(5000, 20, 60, 40), effect=4.0), paired_test(*judged(1250, 5, 15, 10))
    assert many.probability == pytest.approx(few.probability)
    assert many.interval == pytest.approx(few.interval, abs=1e-4)
    assert (many.pairs, many.only_first, many.only_second) == (5120, 20, 60)


def test_a_test_covers_the_true_difference():
    random, shares = np.random.default_rng(0), [0.9, 0.01, 0.03, 0.06]
    held = 0
    for _ in range(300):
        low, high = paired_test(*judged(*random.multinomial(400, shares))).interval
        held += low <= 0.02 <= high
    assert held >= 0.93 * 300


def found_by(common, own, gap, random):
    """(60, 30) whether each of two models finds genuine pairs; persons are hard for both, or for one of them alone."""
    both = np.sqrt(common) * random.standard_normal(60)
    for shift in (0, gap):
        easy = both + np.sqrt(own) * random.standard_normal(60) + 0.8 + shift
        yield easy[:, None] + random.standard_normal((60, 30)) > 0


def test_equal_models_that_find_other_persons_hard_are_seldom_called_different():
    random, verdicts, of_strangers = np.random.default_rng(0), [], []
    for _ in range(100):
        one, other = found_by(0.2, 0.5, 0, random)
        verdicts.append(paired_rate_test(accepted(one), accepted(other), 0.01).verdict)
        of_strangers.append(paired_test(one.ravel(), other.ravel()).verdict)
    assert sum(verdict != "undecided" for verdict in verdicts) <= 9
    assert sum(verdict != "undecided" for verdict in of_strangers) >= 40


def test_the_interval_of_a_rate_holds_the_difference_of_models_that_find_other_persons_hard():
    random, tests = np.random.default_rng(0), []
    for _ in range(100):
        one, other = found_by(0.2, 0.5, 0.4, random)
        tests.append(paired_rate_test(accepted(one), accepted(other), 0.01))
    truth = np.mean([test.difference for test in tests])
    assert sum(test.interval[0] <= truth <= test.interval[1] for test in tests) >= 92
    widths = np.array([test.interval[1] - test.interval[0] for test in tests])
    assert np.mean(widths) == pytest.approx(3.92 * np.std([test.difference for test in tests]), rel=0.2)


def test_a_better_model_is_found_where_both_find_the_same_persons_hard():
    """Each model's own rate has a design effect of about ten; their difference is hardly one of persons."""
    random, by_difference, by_rates = np.random.default_rng(0), 0, 0
    for _ in range(20):
        sides = [accepted(is_right, own_effect=10.0) for is_right in found_by(0.7, 0.0, 0.2, random)]
        by_difference += paired_rate_test(*sides, 0.01).verdict == "second"
        impersonal = (replace(side, persons=None) for side in sides)
        by_rates += paired_rate_test(*impersonal, 0.01).verdict == "second"
    assert by_difference >= 16
    assert by_rates <= 4


def test_one_person_decides_nothing_however_many_pairs_it_has():
    one, other = np.zeros((30, 40), np.bool_), np.zeros((30, 40), np.bool_)
    other[7] = True
    assert paired_rate_test(accepted(one), accepted(other), 0.01).verdict == "undecided"
    assert paired_rate_test(accepted(one[:3]), accepted(~one[:3]), 0.01).verdict == "undecided"  # nor do three
    spread = np.zeros((30, 40), np.bool_)
    spread[:, 0], spread[:10, 1] = True, True  # as many pairs
    assert paired_rate_test(accepted(one), accepted(spread), 0.01).verdict == "second"


def test_thresholds_share_as_much_luck_as_their_false_accepts_are_those_of_the_same_persons():
    """A hundred false accepts of each model, none of them of both: of the same persons, of all, of one person each."""
    is_right, widths = np.arange(1800).reshape(60, 30) % 2 == 0, {}
    everyone, alone = np.full(60, 200 / 60), np.arange(60) == 0
    kinds = {
        "same": (alone * 100 + 100 / 60, alone * 100 + 100 / 60),
        "any": (everyone + np.tile([1, -1], 30), everyone + np.repeat([1, -1], 30)),
        "others": (alone * 100 + 100 / 60, alone[::-1] * 100 + 100 / 60),
    }
    for kind, counts in kinds.items():
        sides = [
            replace(
                accepted(is_right, numbers=np.arange(100) + 100 * place, of_persons=of_persons, slope=0.4),
                impostor_effect=20.0,
            )
            for place, of_persons in enumerate(counts)
        ]
        low, high = paired_rate_test(*sides, 0.01).interval
        widths[kind] = high - low
    assert widths["same"] == pytest.approx(widths["any"], rel=0.2)
    assert widths["others"] > 2 * widths["any"]
