"""Design effects against the variance of counts that are drawn again and again, and against sums over all couples."""

import numpy as np
import pytest

from arcface_evaluator.metrics import dependence
from arcface_evaluator.metrics.dependence import Dependence
from arcface_faces.scores import Scores, Subjects


def everyone_with_everyone(persons):
    """Each ordered couple of different persons once."""
    one, two = (side.astype(np.int32) for side in np.nonzero(~np.eye(persons, dtype=bool)))
    return Subjects(one, two, np.arange(persons, dtype=np.int32))


def of_impostors(score, subjects):
    scores = Scores(score, np.zeros(len(score), np.bool_), subjects=subjects)
    return Dependence.of(scores, ~scores.is_same)


def test_strangers_have_no_effect():
    scores = Scores(np.linspace(0, 1, 50), np.zeros(50, np.bool_))
    assert Dependence.of(scores, ~scores.is_same).effective_size(scores.score > 0.7) == 50


def test_the_effect_is_the_ratio_of_the_variances():
    """Persons who add to the scores of all their pairs: the count beyond a threshold, drawn 3,000 times."""
    random, subjects = np.random.default_rng(0), everyone_with_everyone(60)
    counts, effects = [], []
    for trial in range(3000):
        own = 0.5 * random.standard_normal(60)
        score = own[subjects.first] + own[subjects.second] + random.standard_normal(len(subjects.first))
        counts.append(np.count_nonzero(score > 1.5))
        if trial < 200:
            effects.append(of_impostors(score, subjects).design_effect(score > 1.5))
    share = np.mean(counts) / len(score)
    assert np.mean(effects) == pytest.approx(np.var(counts) / (len(score) * share * (1 - share)), rel=0.2)


def test_the_sum_over_persons_is_that_over_all_couples_of_pairs():
    one, two = (side.astype(np.int32) for side in np.triu_indices(9, 1))
    subjects = Subjects(one, two, np.arange(9, dtype=np.int32))
    is_hit = np.random.default_rng(1).uniform(size=36) < 0.1
    is_hit[subjects.first == 3] = True
    error = is_hit - is_hit.mean()
    people = [{int(a), int(b)} for a, b in zip(one, two, strict=True)]
    couples = sum(
        x * y for x, a in zip(error, people, strict=True) for y, b in zip(error, people, strict=True) if a & b
    )
    exact = couples / (36 * is_hit.mean() * (1 - is_hit.mean()))
    assert exact > 1
    assert of_impostors(error, subjects).design_effect(is_hit) == pytest.approx(exact)


def test_a_genuine_pair_counts_once_for_its_person():
    first = np.repeat(np.arange(10, dtype=np.int32), 4)
    scores = Scores(np.zeros(40), np.ones(40, np.bool_), subjects=Subjects(first, first, np.arange(10, dtype=np.int32)))
    pairs = Dependence.of(scores, scores.is_same)
    assert pairs.design_effect(first < 5) == pytest.approx(4)  # all four of a person, or none
    assert pairs.design_effect(np.arange(40) % 4 == 0) == 1  # one of each: less varied than strangers
    assert pairs.design_effect(np.ones(40, np.bool_)) == 4  # nothing varies: as if they went together


def genuine(score, pairs_each):
    """Pairs of persons who have that many each."""
    everyone = np.arange(len(pairs_each), dtype=np.int32)
    person = np.repeat(everyone, pairs_each)
    return Scores(score, np.ones(len(person), np.bool_), subjects=Subjects(person, person, everyone))


def test_unequal_persons_have_the_effect_of_their_correlation():
    """By hand: 8 pairs of 4, 2, 1 and 1, of which 4, 1, 0 and 1 are hits, a share of 3 in 4.

    Within persons 2 (1 - 1/2) / 2 of 4 x 3/16 is unlike: a correlation of 1/3. They tell as much as 64 / 22 persons of
    equally many pairs, less three, but at least 1.
    """
    is_hit = np.array([True] * 4 + [True, False, False, True])
    scores = genuine(is_hit + 0.0, [4, 2, 1, 1])
    expected = 1 + (22 / 8 - 1) * (1 / 3) * (64 / 22)
    assert Dependence.of(scores, scores.is_same).design_effect(is_hit) == pytest.approx(expected)


def test_persons_with_most_of_the_pairs_do_not_hide_how_hard_others_are():
    """Sixty persons, the first of whom has a fifth of all pairs: seldom hard, but then the share falls much.

    The squares alone, without the correlation, have a median of 0.4 of the effect.
    """
    pairs_each = np.maximum(1, np.rint(128 / np.arange(1, 61))).astype(int)
    random, counts, effects = np.random.default_rng(0), [], []
    for trial in range(3000):
        own = np.repeat(random.standard_normal(60), pairs_each)
        scores = genuine(np.sqrt(0.5) * (own + random.standard_normal(len(own))), pairs_each)
        is_hit = scores.score > -1.7
        counts.append(np.count_nonzero(is_hit))
        if trial < 200:
            effects.append(Dependence.of(scores, scores.is_same).design_effect(is_hit))
    share = np.mean(counts) / len(own)
    effect = np.var(counts) / (len(own) * share * (1 - share))
    assert np.median(effects) == pytest.approx(effect, rel=0.25)
    assert np.quantile(effects, 0.1) > 0.4 * effect


def test_blocks_of_pairs_are_added_up(monkeypatch):
    subjects = everyone_with_everyone(12)
    whole = of_impostors(np.zeros(132), subjects).touched
    monkeypatch.setattr(dependence, "BLOCK", 5)
    np.testing.assert_array_equal(of_impostors(np.zeros(132), subjects).touched, whole)
    assert set(whole.tolist()) == {22}
