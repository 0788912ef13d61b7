"""Operating points and groups of a set, against counting."""

import numpy as np
import pytest

from arcface_evaluator.metrics.intervals import share_interval
from arcface_evaluator.metrics.roc import TarAtFar, tar_at_far
from arcface_evaluator.report.entries import intervals_of
from arcface_evaluator.report.figures import Measured, figures_of
from arcface_faces.scores import Groups, Scores

NAMES = ("African", "Asian", "Caucasian", "Indian")


def of_four_groups(decided=True):
    """Four groups of 500 pairs each, of which the first is judged worst."""
    random, codes = np.random.default_rng(0), np.arange(2000, dtype=np.int32) % 4
    is_same = np.arange(2000) // 4 % 2 == 0
    score = random.normal(np.where(is_same, 3.0 - (codes == 0), 0.0), 1.0)
    accepted = score > 1.5 if decided else None
    return Scores(score, is_same, accepted, Groups(NAMES, codes))


def figures(scores, rates=None):
    rates = tar_at_far(scores) if rates is None else rates
    return figures_of("rfw", Measured.of(scores), rates, intervals_of(rates, Measured.of(scores)))


def test_an_operating_point_has_the_errors_of_its_threshold():
    scores = of_four_groups()
    points = {point.far: point for point in figures(scores).points}
    assert list(points) == [1e-3, 1e-2, 1e-1]
    for point in points.values():
        assert point.fmr == np.mean(scores.impostors >= point.threshold)
        assert point.fnmr == pytest.approx(np.mean(scores.genuine < point.threshold))
        low, high = point.interval
        assert 0 <= low < point.fnmr < high <= 1


def test_groups_are_judged_by_the_thresholds_of_all():
    scores = of_four_groups()
    found = figures(scores)
    assert [group.group for group in found.groups] == list(NAMES)
    for code, group in enumerate(found.groups):
        mine = scores.groups.codes == code
        assert (group.pairs, group.accuracy) == (500, np.mean(scores.is_right[mine]))
        assert group.interval[0] < group.accuracy < group.interval[1]
        for point, whole in zip(group.points, found.points, strict=True):
            assert point.threshold == whole.threshold
            assert point.fmr == np.mean(scores.score[mine & ~scores.is_same] >= point.threshold)
            assert point.fnmr == pytest.approx(np.mean(scores.score[mine & scores.is_same] < point.threshold))
            assert point.interval == pytest.approx(share_interval(point.fnmr, np.sum(mine & scores.is_same)))
            assert point.fmr_interval == pytest.approx(share_interval(point.fmr, np.sum(mine & ~scores.is_same)))


@pytest.mark.parametrize("decided", [True, False])
def test_the_worst_group_is_named(decided):
    assert figures(of_four_groups(decided)).worst_group.group == "African"


@pytest.mark.parametrize("decided", [True, False])
def test_of_groups_that_are_equally_bad_none_is_the_worst(decided):
    """Copies of a group are as bad as it is, also where another one is better; and one alone is not compared."""
    scores = of_four_groups(decided)
    codes, count = scores.groups.codes, len(scores)
    first, last = np.flatnonzero(codes == 0), np.flatnonzero(codes == 3)
    for chosen, groups in (([first, first, last], 3), ([last, last], 2), ([first], 1)):
        rows, owners = np.concatenate(chosen), np.repeat(np.arange(groups, dtype=np.int32), count // 4)
        accepted = scores.score[rows] > 1.5 if decided else None
        alike = Scores(scores.score[rows], scores.is_same[rows], accepted, Groups(NAMES[:groups], owners))
        found = figures(alike)
        assert ([group.group for group in found.groups], found.worst_group) == (list(NAMES[:groups]), None)


def test_a_set_without_groups_has_no_worst_one():
    scores = of_four_groups()
    found = figures(Scores(scores.score, scores.is_same))
    assert (found.groups, found.worst_group) == ([], None)


def test_a_group_of_one_kind_has_no_equal_error_rate():
    scores = of_four_groups()
    alone = Groups(("genuine", "others"), np.where(scores.is_same, 0, 1).astype(np.int32))
    one, other = figures(Scores(scores.score, scores.is_same, groups=alone)).groups
    assert (one.eer, one.accuracy, one.points[0].fmr, other.points[0].fnmr) == (None, None, None, None)
    assert (one.points[0].fmr_interval, other.points[0].interval) == (None, None)


def test_a_threshold_that_accepts_nobody_is_no_operating_point():
    rates = [TarAtFar(0.1, 0.0, 0.0, np.inf, 0.0)]
    assert figures(of_four_groups(), rates).points == []
