"""Rates at false accept rates against cases worked out by hand and the published scripts' documented steps."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics.roc import tar_at_far, upper_curve
from arcface_faces.scores import Scores
from support.published_rates import printed_rate, roc_points

# Case R1.
GENUINE = [0.95, 0.9, 0.7, 0.6, 0.3]
IMPOSTORS = [0.92, 0.65, 0.5, 0.45, 0.4, 0.35, *(n / 100 for n in range(20, 6, -1))]


def labelled(genuine=GENUINE, impostors=IMPOSTORS):
    return Scores(np.array([*genuine, *impostors]), np.array([True] * len(genuine) + [False] * len(impostors)))


def test_the_curve_of_the_reference_case():
    roc = upper_curve(labelled(), [1.0])
    points = list(zip(roc.fpr.tolist(), roc.tpr.tolist(), strict=True))
    for vertex in [(0, 0), (0, 0.2), (0.05, 0.2), (0.05, 0.6), (0.1, 0.6), (0.1, 0.8), (0.3, 0.8), (0.3, 1), (1, 1)]:
        assert any(point == pytest.approx(vertex) for point in points)


@pytest.mark.parametrize(
    ("far", "nearest", "conservative"),
    [(0.05, 0.6, 0.6), (0.06, 0.6, 0.6), (0.09, 0.8, 0.6), (0.1, 0.8, 0.8), (0.3, 1.0, 1.0), (0.04, None, None)],
)
def test_rates_of_the_reference_case(far, nearest, conservative):
    (rate,) = tar_at_far(labelled(), [far])
    assert (rate.nearest, rate.conservative) == (pytest.approx(nearest), pytest.approx(conservative))


def test_the_published_script_sees_no_points_within_a_straight_part():
    """Impostors at FAR 0.15 to 0.25 lie on a level part of the curve: the script jumps to its ends, 0.1 or 0.3."""
    rates = {far: tar_at_far(labelled(), [far])[0] for far in (0.2, 0.25)}
    assert [rate.nearest for rate in rates.values()] == [0.8, 0.8]
    # (0.3, 0.8) is kept, and so is (0.3, 1), which the walk from the right meets first.
    assert (rates[0.25].published, rates[0.2].published) == (1.0, 1.0)


def test_equal_scores_are_accepted_together():
    (rate,) = tar_at_far(labelled([0.5, 0.4], [0.5] * 8 + [0.1] * 2), [0.1])
    assert (rate.nearest, rate.conservative) == (0.0, 0.0)  # the only other points have FAR 0.8 and more


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_both_nearest_rates_are_those_of_the_documented_steps_however_many_scores_are_equal(data):
    levels = data.draw(st.integers(1, 60))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, levels), st.booleans()), min_size=2, max_size=120))
    scores, is_same = [level / 7 for level, _ in pairs], [same for _, same in pairs]
    is_same[0], is_same[1] = True, False
    for rate in tar_at_far(Scores(np.array(scores), np.array(is_same)), [0.05, 0.1, 0.21, 0.5]):
        if rate.nearest is not None:
            assert rate.nearest == printed_rate(scores, is_same, rate.far, drop_intermediate=False)
            assert rate.published == printed_rate(scores, is_same, rate.far, drop_intermediate=True)


@pytest.mark.parametrize("decimals", [1, 2, 6])
def test_the_part_of_the_curve_gives_the_rates_of_the_whole(decimals):
    random = np.random.default_rng(1)
    scores = labelled(random.normal(1, 1, 300).round(decimals), random.normal(0, 1, 20_000).round(decimals))
    listed = scores.score.tolist(), scores.is_same.tolist()
    points = [(false / 20_000, true / 300) for false, true in roc_points(*listed, drop_intermediate=False)]
    for rate in tar_at_far(scores, [1e-3, 1e-2, 1e-1]):
        assert rate.nearest == printed_rate(*listed, rate.far, drop_intermediate=False)
        assert rate.published == printed_rate(*listed, rate.far, drop_intermediate=True)
        assert rate.conservative == pytest.approx(max(true for false, true in points if false <= rate.far))


def test_a_perfect_model_has_one_straight_part_that_is_seen_to_its_end():
    scores = labelled(np.linspace(0.9, 1, 50), np.linspace(0, 0.5, 100_000))
    for rate in tar_at_far(scores):
        assert (rate.nearest, rate.conservative) in {(1.0, 1.0), (None, None)}
        # The first impostor's point has a neighbour above and one to the right: it is kept, as is the last.
        assert rate.published in {1.0, None}


@pytest.mark.parametrize("genuine", [[], [0.5]])
def test_a_curve_needs_both_kinds_of_pairs(genuine):
    with pytest.raises(InvalidInput, match="a curve needs both"):
        tar_at_far(labelled(genuine, [0.1] * (1 - len(genuine))))


FARS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 2e-1)


@pytest.mark.parametrize(
    ("decimals", "nearest", "published"),
    [  # scikit-learn 1.9.1, roc_curve without and with drop_intermediate, read as eval_ijbc.py does
        (1, [0.175, 0.35, 0.35, 0.575, 0.775, 0.775], [0.175, 0.35, 0.35, 0.575, 0.775, 0.775]),
        (2, [0.25, 0.35, 0.5, 0.65, 0.775, 0.85], [0.25, 0.35, 0.5, 0.65, 0.775, 0.85]),
        (3, [0.275, 0.35, 0.5, 0.65, 0.775, 0.85], [0.275, 0.375, 0.5, 0.65, 0.775, 0.85]),
        (9, [0.275, 0.35, 0.5, 0.65, 0.775, 0.85], [0.275, 0.375, 0.5, 0.65, 0.775, 0.85]),
    ],
)
def test_both_nearest_rates_are_those_of_scikit_learn(decimals, nearest, published):
    random, is_same = np.random.default_rng(17), np.arange(4040) < 40
    score = random.normal(np.where(is_same, 0.3, 0.0), np.where(is_same, 0.15, 0.12)).round(decimals)
    rates = tar_at_far(Scores(score, is_same), FARS)
    assert [rate.nearest for rate in rates] == nearest
    assert [rate.published for rate in rates] == published
