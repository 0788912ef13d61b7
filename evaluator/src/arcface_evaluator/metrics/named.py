"""Figures by the names of gates: `accuracy`, `eer`, `auc`, `tar@1e-4`, of a group `African.accuracy`."""

from arcface_evaluator.metrics import error_rates, roc
from arcface_faces.scores import Scores


def figure(scores: Scores, name: str) -> float | None:
    """A figure of a set; None where the set has no such group, or its pairs cannot tell."""
    group, _, kind = name.rpartition(".")
    if group:
        found = dict(scores.by_group()).get(group)
        return None if found is None else figure(found, kind)
    if kind == "accuracy":
        return None if scores.is_right is None else float(scores.is_right.mean())
    if scores.is_same.all() or not scores.is_same.any():
        return None
    if kind.startswith("tar@"):
        return roc.tar_at_far(scores, [float(kind.removeprefix("tar@"))])[0].nearest
    curve = error_rates.error_curve(scores)
    return curve.eer if kind == "eer" else curve.auc
