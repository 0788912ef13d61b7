"""Curves of error rates against counting couples one by one, and the polygon drawn by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics import error_rates
from arcface_faces.scores import Scores
from support.published_rates import area, crossing


def scores_of(genuine, impostors, kind=np.float64):
    return Scores(np.array([*genuine, *impostors], kind), np.arange(len(genuine) + len(impostors)) < len(genuine))


def test_a_curve_drawn_by_hand():
    curve = error_rates.error_curve(scores_of([0.9, 0.6, 0.3], [0.7, 0.6, 0.2, 0.1]))
    corners = set(zip(curve.fmr.tolist(), curve.tpr.round(6).tolist(), strict=True))
    third = round(1 / 3, 6)
    assert corners == {(0, 0), (0, third), (0.25, third), (0.5, 0.666667), (0.5, 1), (1, 1)}
    assert curve.auc == pytest.approx((4 + 2.5 + 2) / 12)
    # From (0.25, 1/3) to (0.5, 2/3) the errors meet: fmr 0.25 + x / 4 = fnmr 2/3 - x / 3.
    assert curve.eer == pytest.approx(0.25 + (5 / 7) / 4)
    assert curve.eer_threshold == 0.6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.sampled_from([np.float32, np.float64]),
)
def test_area_and_equal_error_rate_are_those_of_counting(genuine, impostors, kind):
    scores = scores_of(genuine, impostors, kind)
    curve, listed = error_rates.error_curve(scores), (scores.score.tolist(), scores.is_same.tolist())
    assert curve.auc == pytest.approx(area(*listed), abs=1e-12)
    assert curve.eer == pytest.approx(crossing(*listed), abs=1e-12)


@pytest.mark.parametrize("cells", [1, 2, 5, 1000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_counting_in_cells_is_exact_however_few_there_are(monkeypatch, cells, kind):
    monkeypatch.setattr(error_rates, "MOST_CELLS", cells)
    random = np.random.default_rng(cells)
    scores = scores_of(random.normal(1, 1, 60).round(2), random.normal(0, 1, 400).round(2), kind)
    curve, listed = error_rates.error_curve(scores), (scores.score.tolist(), scores.is_same.tolist())
    assert curve.auc == pytest.approx(area(*listed), abs=1e-12)
    assert curve.eer == pytest.approx(crossing(*listed), abs=1e-12)


@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1e300, 8.9e307])
def test_scores_too_near_or_too_far_apart_to_be_divided_are_told_apart(unit):
    curve = error_rates.error_curve(scores_of([2 * unit, unit, -2 * unit], [2 * unit, 0, -unit, -unit]))
    # Couples in order: 3 and a tie of the first, 3 of the second, none of the third.
    assert curve.auc == pytest.approx((3.5 + 3 + 0) / 12)


def test_blocks_of_pairs_are_added_up(monkeypatch):
    random = np.random.default_rng(0)
    scores = scores_of(random.normal(1, 1, 50).round(1), random.normal(0, 1, 500).round(1))
    whole = error_rates.error_curve(scores)
    monkeypatch.setattr(error_rates, "BLOCK", 7)
    np.testing.assert_array_equal(error_rates.error_curve(scores).fmr, whole.fmr)


def test_a_perfect_model_makes_no_error_and_an_inverted_one_nothing_else():
    assert error_rates.error_curve(scores_of([0.8, 0.9], [0.1, 0.2])).eer == 0
    inverted = error_rates.error_curve(scores_of([0.1, 0.2], [0.8, 0.9]))
    assert (inverted.eer, inverted.auc) == (1, 0)


def test_rates_at_a_threshold_accept_the_score_that_equals_it():
    fmr, fnmr = error_rates.rates_at(scores_of([0.9, 0.6, 0.3], [0.7, 0.6, 0.2, 0.1]), [0.6, 0.65, np.inf])
    assert fmr.tolist() == [0.5, 0.25, 0.0]
    assert fnmr == pytest.approx(np.array([1 / 3, 2 / 3, 1.0]))


def test_rates_without_such_pairs_are_no_numbers():
    fmr, fnmr = error_rates.rates_at(scores_of([0.9], []), [0.5])
    assert np.isnan(fmr).all()
    assert fnmr.tolist() == [0.0]


def test_drawn_points_reach_from_end_to_end():
    random = np.random.default_rng(0)
    curve = error_rates.error_curve(scores_of(random.normal(2, 1, 5000), random.normal(0, 1, 5000)))
    points = curve.points_to_draw()
    assert len(points) <= error_rates.POINTS + 2
    assert curve.fmr[points[0]] == 0
    assert curve.tpr[points[0]] == (curve.tpr[curve.fmr == 0]).max()
    assert (curve.fmr[points[-1]], curve.tpr[points[-1]]) == (1, 1)


def test_a_curve_needs_both_kinds_of_pairs():
    with pytest.raises(InvalidInput, match="1 pairs of one person and 0 of two: a curve needs both"):
        error_rates.error_curve(scores_of([0.5], []))
