"""McNemar's exact test against the binomial sum, and the interval against what the counts leave open."""

from math import comb

import numpy as np
import pytest

from arcface_evaluator.metrics.paired import paired_test


def judged(both, only_first, only_second, neither):
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


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
