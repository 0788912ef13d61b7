"""Figures by the names of gates: `accuracy`, `eer`, `auc`, `tar@1e-4`, `fnmr@0.35`, of a group `African.accuracy`."""

import math
import re

import numpy as np
from numpy.typing import NDArray

from arcface_api.names import FIGURE
from arcface_evaluator.metrics import error_rates, roc
from arcface_faces.scores import Groups, Scores


def figure(scores: Scores, name: str, accuracy: float | None = None) -> float | None:
    """A figure of a set; None where the set has no such group, or its pairs cannot tell.

    Args:
        scores: of its pairs.
        name: what gates call it.
        accuracy: what the protocol reports of the set, the mean over folds, which may be of several sizes; that of a
            group is the share of its pairs.

    Raises:
        ValueError: where gates cannot be called so.
    """
    parts = _parts_of(name)
    if parts is None:
        raise ValueError(f"no figure is called {name}")
    if name == "accuracy":
        return accuracy
    group, (kind, _, at) = parts["group"], parts["figure"].partition("@")
    found = scores if group is None else dict(scores.by_group()).get(group)
    return None if found is None else _figure(found, kind, float(at or "nan"))


def obstacle(name: str, is_same: NDArray[np.bool_], groups: Groups | None) -> str | None:
    """Why a set has no such figure, whatever the scores of its pairs (P,) will be; None where it has."""
    parts = _parts_of(name)
    if parts is None:
        return f"there is no figure {name}"
    group, (kind, _, at) = parts["group"], parts["figure"].partition("@")
    if group is not None:
        if groups is None or group not in groups.names:
            return f"there is no group {group}"
        is_same = is_same[groups.codes == groups.names.index(group)]
        if not is_same.size:
            return f"group {group} has no pairs"
    genuine, impostors = int(is_same.sum()), int((~is_same).sum())
    rate = float(at) if kind == "tar" else 1.0
    if kind not in {"accuracy", "fnmr"} and impostors * rate < 1:
        return f"it takes {math.ceil(1 / rate)} pairs of two persons, and there are {impostors}"
    if kind not in {"accuracy", "fmr"} and not genuine:
        return "it takes pairs of one person, and there are none"
    return None


def _figure(scores: Scores, kind: str, at: float) -> float | None:
    if kind == "accuracy":
        return None if scores.is_right is None else float(scores.is_right.mean())
    if kind in {"fmr", "fnmr"}:
        rate = float(error_rates.rates_at(scores, [at])[kind == "fnmr"][0])
        return None if math.isnan(rate) else rate
    if scores.is_same.all() or not scores.is_same.any():
        return None
    if kind == "tar":
        return roc.tar_at_far(scores, [at])[0].nearest
    curve = error_rates.error_curve(scores)
    return {"eer": curve.eer, "auc": curve.auc}[kind]


def _parts_of(name: str) -> re.Match[str] | None:
    """The figure by its name, and its group if it is one's."""
    return re.fullmatch(f"(?:(?P<group>.+)[.])?(?P<figure>{FIGURE})", name)
