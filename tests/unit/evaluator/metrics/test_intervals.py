"""Intervals against published tables, closed forms, and the truth behind drawn scores."""

from statistics import NormalDist

import numpy as np
import pytest

from arcface_evaluator.metrics.intervals import accuracy_interval, hit_interval, share_interval, tar_intervals
from arcface_evaluator.metrics.roc import tar_at_far
from arcface_faces.scores import Scores, Subjects


def judged(right, pairs):
    """Pairs in turns of one person and of two, of which the last ones are judged wrongly."""
    is_same = np.arange(pairs) % 2 == 0
    is_accepted = is_same ^ (np.arange(pairs) >= right)
    return Scores(is_accepted.astype(float), is_same, is_accepted)


@pytest.mark.parametrize(
    ("hits", "size", "low", "high"),
    [  # Clopper and Pearson, by scipy.stats.beta.ppf
        (40, 40, 0.9119026971211976, 1.0),
        (39, 40, 0.8684141415172343, 0.9993672550679505),
        (5940, 6000, 0.9871465286972126, 0.9923605156393801),
        (0, 10, 0.0, 0.3084971078187607),
        (16, 15_638_932, 5.847831658506328e-07, 1.6614299047512961e-06),
        (15_600_000, 15_638_932, 0.9974857498827651, 0.9975352090395021),
    ],
)
def test_a_share_has_the_interval_of_clopper_and_pearson(hits, size, low, high):
    assert share_interval(hits / size, size) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))


def test_a_perfect_small_set_is_not_sure():
    assert accuracy_interval(judged(40, 40)) == (pytest.approx(0.9119, abs=1e-4), 1.0)


@pytest.mark.parametrize("pairs", [600, 6000])
def test_an_accuracy_is_as_sure_as_its_pairs_are_many(pairs):
    low, high = accuracy_interval(judged(round(0.9 * pairs), pairs))
    half = 1.96 * np.sqrt(0.9 * 0.1 / pairs)  # normal approximation of the binomial
    assert (low, high) == (pytest.approx(0.9 - half, abs=half / 8), pytest.approx(0.9 + half, abs=half / 8))


def test_the_best_threshold_in_hindsight_lends_its_upper_end():
    """Ten folds may choose badly on few pairs: scores that a threshold parts are not called worse than they are."""
    is_same = np.arange(40) < 20
    chosen_badly = Scores(is_same + 0.0, is_same, is_accepted=np.arange(40) < 30)
    assert accuracy_interval(chosen_badly) == (pytest.approx(share_interval(0.75, 40)[0]), 1.0)


def test_an_accuracy_needs_decisions():
    with pytest.raises(ValueError, match="has decided on no pair"):
        accuracy_interval(Scores(np.zeros(2), np.array([True, False])))


def of_persons(is_hit, pairs_each):
    """Genuine pairs with the first template of their person."""
    first = np.repeat(np.arange(len(is_hit), dtype=np.int32) * 1000, pairs_each)
    second = first + np.tile(np.arange(1, pairs_each + 1, dtype=np.int32), len(is_hit))
    is_same = np.ones(len(first), np.bool_)
    score = np.where(np.repeat(is_hit, pairs_each), 0.9, 0.1)
    return Scores(score, is_same, subjects=Subjects.linked(first, second, is_same))


def test_pairs_of_one_person_stand_or_fall_together():
    """Eighty persons of whom one in four is never recognised: 20 pairs each make nobody surer than one pair does."""
    for each in (1, 20):
        scores = of_persons(np.arange(80) % 4 != 0, each)
        expected = share_interval(0.75, 80)
        assert hit_interval(scores, scores.is_same, scores.score > 0.5) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("beyond", "far"), [(8, 1e-2), (100, 1e-1)])
def test_a_rate_is_held_though_its_threshold_hangs_on_few_impostors(beyond, far):
    random, trials, shift = np.random.default_rng(beyond), 200, 3.0
    truth = 1 - NormalDist().cdf(NormalDist().inv_cdf(1 - far) - shift)
    is_same = np.arange(1000 + round(beyond / far)) < 1000
    held, widths = 0, []
    for _ in range(trials):
        scores = Scores(random.standard_normal(len(is_same)) + shift * is_same, is_same)
        ((low, high, _),) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        held += low <= truth <= high
        widths.append(high - low)
    assert held >= 0.93 * trials
    # The threshold moves by 1 / sqrt(beyond) of its density's share; twice what that makes of it would be idle.
    slope = NormalDist().pdf(NormalDist().inv_cdf(1 - far) - shift) / NormalDist().pdf(NormalDist().inv_cdf(1 - far))
    deviation = np.hypot(slope * far / np.sqrt(beyond), np.sqrt(truth * (1 - truth) / 1000))
    assert 3.9 * deviation < np.mean(widths) < 2 * 3.9 * deviation


def test_a_rate_is_held_though_few_persons_have_most_of_the_pairs():
    """Sixty persons with 128, 64, 43 ... pairs, who make half of the variance, and 10,000 pairs of strangers."""
    random, trials, held = np.random.default_rng(0), 200, 0
    first = np.repeat(np.arange(60, dtype=np.int32), np.maximum(1, np.rint(128 / np.arange(1, 61))).astype(int))
    strangers = np.arange(60, 20_060, dtype=np.int32).reshape(2, -1)
    subjects = Subjects(*(np.concatenate([first, side]) for side in strangers), np.arange(20_060, dtype=np.int32))
    is_same = np.arange(len(subjects.first)) < len(first)
    truth = 1 - NormalDist().cdf(NormalDist().inv_cdf(0.9) - 3)
    for _ in range(trials):
        noise = random.standard_normal(len(is_same))
        noise[is_same] = np.sqrt(0.5) * (noise[is_same] + random.standard_normal(60)[first])
        scores = Scores(noise + 3 * is_same, is_same, subjects=subjects)
        ((low, high, _),) = tar_intervals(scores, tar_at_far(scores, [0.1])).values()
        held += low <= truth <= high
    assert held >= 0.95 * trials


def test_persons_who_are_taken_for_many_others_make_a_rate_less_sure():
    """One of forty persons is in all impostor pairs beyond the threshold: whom they tell of is one person."""
    random, persons = np.random.default_rng(0), 40
    one, two = (side.astype(np.int32) for side in np.nonzero(~np.eye(persons, dtype=bool)))
    everyone = np.arange(persons, dtype=np.int32)
    first, second = np.concatenate([everyone, one]), np.concatenate([everyone, two])
    is_same, beyond = first == second, random.uniform(0, 1, len(first))
    score = np.where(is_same, beyond, np.where((first == 7) | (second == 7), 0.9 + beyond / 10, 0.8 * beyond))
    alone = Scores(score, is_same)
    shared = Scores(score, is_same, subjects=Subjects(first, second, everyone))
    rates = tar_at_far(alone, [0.04])
    (narrow,), (wide,) = tar_intervals(alone, rates).values(), tar_intervals(shared, rates).values()
    assert 0 == wide[0] < narrow[0]
    assert narrow[1] < wide[1]


def test_rates_that_cannot_be_told_have_no_interval():
    is_same = np.arange(40) < 20
    scores = Scores(np.linspace(1, 0, 40), is_same)
    assert list(tar_intervals(scores, tar_at_far(scores, [1e-3, 0.1]))) == [0.1]
    assert tar_intervals(scores, tar_at_far(scores, [1e-3])) == {}


def test_a_perfect_rate_keeps_what_its_genuine_pairs_leave_open():
    is_same = np.arange(2020) < 20
    scores = Scores(np.where(is_same, 1.0, np.linspace(0, 0.5, 2020)), is_same)
    ((low, high, _),) = tar_intervals(scores, tar_at_far(scores, [0.1])).values()
    assert (low, high) == (pytest.approx(share_interval(1.0, 20)[0], abs=0.01), 1.0)
