"""How far figures may be from the truth: 95 % intervals of shares, of accuracies and of rates at re-chosen thresholds.

A share gets the interval of Clopper and Pearson (1934), which holds at its edges, too: a set of 40 pairs without an
error has [0.912, 1]. Where pairs share persons it is computed for the effective number of pairs (Korn and Graubard,
1998).

A true accept rate at a false accept rate depends on both kinds of pairs. How many of N impostors exceed the threshold
that has the false accept rate f in truth is a binomial number J, whatever their scores look like: that threshold lies
between the impostors of ranks J and J + 1. Drawing J again and again draws the threshold anew, exactly as its luck is,
also where a rate hangs on eight impostors, which a bootstrap of the scores cannot tell; for each the share of genuine
pairs beyond gets a bound of Clopper's and Pearson's as a draw of the beta distribution that makes it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.metrics import roc
from arcface_evaluator.metrics.dependence import Dependence
from arcface_evaluator.metrics.error_rates import ErrorCurve, error_curve
from arcface_faces.scores import Scores

DRAWS = 10_000
LEVEL = (0.025, 0.975)
SEED = 0
HALVINGS = 60
"""Of [0, 1]: beyond the precision of a double."""
TERMS, ENOUGH = 10_000, 1e-14
"""Of the continued fraction: at most, and the relative change that ends it."""
Interval = tuple[float, float]


class TarInterval(NamedTuple):
    """Of a true accept rate in truth at its false accept rate."""

    low: float
    high: float
    impostor_effect: float
    """Design effect at the threshold: how many impostors tell as much as one pair of strangers."""


def share_interval(share: float, size: float) -> Interval:
    """Interval of a probability of which a share of `size` independent draws was seen; `size` may be broken."""
    hits = share * size
    low = 0.0 if share <= 0 else _beta_quantile(LEVEL[0], hits, size - hits + 1)
    high = 1.0 if share >= 1 else _beta_quantile(LEVEL[1], hits + 1, size - hits)
    return low, high


def hit_interval(scores: Scores, members: NDArray[np.bool_], is_hit: NDArray[np.bool_]) -> Interval:
    """Interval of the share of hits (P,) among the members (P,), of which there is at least one."""
    dependence = Dependence.of(scores, members)
    return share_interval(np.count_nonzero(is_hit & members) / dependence.size, dependence.effective_size(is_hit))


def decisions(scores: Scores) -> tuple[float, Interval]:
    """Share of right decisions by thresholds that were chosen elsewhere, and its interval."""
    if scores.is_right is None:
        raise ValueError("the protocol has decided on no pair")
    everyone = np.ones(len(scores), np.bool_)
    return float(scores.is_right.mean()), hit_interval(scores, everyone, scores.is_right)


def accuracy_interval(scores: Scores) -> Interval:
    """Interval of the accuracy whose thresholds were chosen on the same pairs.

    Choosing costs accuracy on other pairs, so that the decisions' upper end may miss what the best threshold reaches;
    in hindsight that one was right at least as often as it will be, and lends its upper end.
    """
    if scores.is_right is None:
        raise ValueError("the protocol has decided on no pair")
    dependence = Dependence.of(scores, np.ones(len(scores), np.bool_))
    size = dependence.effective_size(scores.is_right)
    low, high = share_interval(float(scores.is_right.mean()), size)
    return low, max(high, share_interval(error_curve(scores).best_accuracy, size)[1])


def tar_intervals(
    scores: Scores, rates: Sequence[roc.TarAtFar], curve: ErrorCurve | None = None
) -> dict[float, TarInterval]:
    """Intervals of the true accept rates by their false accept rates; none where a rate could not be told.

    The curve of the scores, which takes long to make where pairs are many, is made where it is not given.
    """
    thresholds = {rate.far: rate.threshold for rate in rates if rate.threshold is not None}
    if not thresholds:
        return {}
    genuine, impostors = (Dependence.of(scores, members) for members in (scores.is_same, ~scores.is_same))
    effects = {far: impostors.design_effect(scores.score >= level) for far, level in thresholds.items()}
    known = error_curve(scores) if curve is None else curve
    bounds = {
        far: _tar_interval(
            known, _drawn_ranks(far, impostors.size, effects[far]), genuine.design_effect(scores.score >= level)
        )
        for far, level in thresholds.items()
    }
    return {far: TarInterval(low, high, effects[far]) for far, (low, high) in bounds.items()}


def _drawn_ranks(far: float, impostors: int, effect: float) -> NDArray[np.int64]:
    """(2, DRAWS) ranks of the impostors, from 1 for the highest, that the threshold in truth lies between.

    Where impostors depend on one another the number beyond it varies as if each came `effect` times.
    """
    drawn = np.random.default_rng(SEED).binomial(max(1, round(impostors / effect)), far, DRAWS)
    return np.array([np.floor(drawn * effect), np.ceil((drawn + 1) * effect)], np.int64)


def _tar_interval(curve: ErrorCurve, ranks: NDArray[np.int64], effect: float) -> Interval:
    """Bounds of the share of genuine pairs beyond the drawn thresholds, of which pairs `effect` tell as one."""
    known = np.minimum(ranks, [[curve.impostors], [curve.impostors + 1]])
    # Between corners only false accepts change, so that the corners around a rank have the true accepts there.
    above, below = np.searchsorted(curve.false_accepts, known, side="left")
    size, random = curve.genuine / effect, np.random.default_rng(SEED + 1)
    true_accepts = curve.true_accepts
    fewest, most = true_accepts[above] / effect, true_accepts[below - 1] / effect
    # A beta distribution with a parameter of zero is the edge itself.
    lows = np.where(fewest > 0, random.beta(np.maximum(fewest, 1e-300), size - fewest + 1), 0.0)
    highs = np.where(most < size, random.beta(most + 1, np.maximum(size - most, 1e-300)), 1.0)
    return float(np.quantile(lows, LEVEL[0])), float(np.quantile(highs, LEVEL[1]))


def _beta_quantile(level: float, one: float, other: float) -> float:
    """Where the beta distribution reaches a probability, by halving."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_distribution(middle, one, other) < level else (low, middle)
    return (low + high) / 2


def beta_distribution(x: float, one: float, other: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x > (one + 1) / (one + other + 2):
        return 1 - beta_distribution(1 - x, other, one)  # where the fraction converges fast
    if x <= 0:
        return 0.0
    logarithm = math.lgamma(one + other) - math.lgamma(one) - math.lgamma(other)
    factor = math.exp(logarithm + one * math.log(x) + other * math.log1p(-x)) / one
    return factor / _continued_fraction(x, one, other)


def _continued_fraction(x: float, one: float, other: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)) from the front (Lentz, 1976)."""
    value, above, below = 1.0, 1.0, 0.0
    for term in range(1, TERMS):
        half, odd = divmod(term, 2)
        part = -(one + half) * (one + other + half) if odd else half * (other - half)
        part *= x / ((one + term - 1) * (one + term))
        below = 1 / (1 + part * below)
        above = 1 + part / above
        value *= above * below
        if abs(above * below - 1) < ENOUGH:
            break
    return value
