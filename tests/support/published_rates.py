"""What the published scripts print, computed slowly from their documented steps: no code of the project's takes part.

`eval_ijbc.py` (deepinsight/insightface): the false accept rate nearest to a target in `sklearn.metrics.roc_curve`, and
of equally near ones the first of the flipped arrays. `roc_curve` (scikit-learn 0.17 to 1.8, "drop_intermediate: whether
to drop thresholds where the resulting point is collinear with its neighbors in ROC space"): points at distinct scores,
falling; of more than two, inner ones whose second differences of both counts are zero are dropped; then comes (0, 0)
before them.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise


def roc_points(scores: Sequence[float], is_same: Sequence[bool], drop_intermediate: bool) -> list[tuple[int, int]]:
    """False and true positives, one pair of counts a point."""
    ranked = sorted(zip(scores, is_same, strict=True), reverse=True)
    points, false, true = [], 0, 0
    for _, equal in groupby(ranked, key=lambda pair: pair[0]):
        truths = [truth for _, truth in equal]
        true, false = true + sum(truths), false + len(truths) - sum(truths)
        points.append((false, true))
    kept = [
        point
        for place, point in enumerate(points)
        if not drop_intermediate
        or place in {0, len(points) - 1}
        or any(points[place + 1][axis] - 2 * point[axis] + points[place - 1][axis] for axis in (0, 1))
    ]
    return [(0, 0), *kept]


def printed_rate(scores: Sequence[float], is_same: Sequence[bool], far: float, drop_intermediate: bool) -> float:
    """The rate that the script reports at one false accept rate."""
    return nearest_rate(roc_points(scores, is_same, drop_intermediate), far)


def nearest_rate(points: Sequence[tuple[int, int]], far: float) -> float:
    """The same of a curve's points."""
    impostors, genuine = points[-1]
    last = len(points) - 1
    _, place = min((abs(false / impostors - far), last - place) for place, (false, _) in enumerate(points))
    return points[last - place][1] / genuine


def area(scores: Sequence[float], is_same: Sequence[bool]) -> float:
    """Share of all couples of a genuine pair and an impostor that are in order, ties counting half."""
    genuine = [score for score, same in zip(scores, is_same, strict=True) if same]
    impostors = [score for score, same in zip(scores, is_same, strict=True) if not same]
    won = sum((g > i) + (g == i) / 2 for g in genuine for i in impostors)
    return won / (len(genuine) * len(impostors))


def crossing(scores: Sequence[float], is_same: Sequence[bool]) -> float:
    """Equal error rate: the straight lines between the points of the ROC cut the falling diagonal."""
    points = roc_points(scores, is_same, drop_intermediate=False)
    impostors, genuine = points[-1]
    rates = [(false / impostors, 1 - true / genuine) for false, true in points]
    for (fmr, fnmr), (next_fmr, next_fnmr) in pairwise(rates):
        before, after = fmr - fnmr, next_fmr - next_fnmr
        if before <= 0 <= after and after > before:
            return fmr - before / (after - before) * (next_fmr - fmr)
    raise AssertionError("the curve ends at (1, 1)")
