"""Whether one model is better than another on the same pairs.

Only pairs that one of them judges rightly and the other wrongly tell them apart. If both were equally good each such
pair would be a coin's throw: the exact test of McNemar (1947). The interval of the difference draws the three shares
(only the one is right, only the other, both or none) from what the counts leave open: a Dirichlet distribution with
Jeffreys' prior. Where pairs share persons all counts are divided by the design effect (Rao and Scott, 1981), and what
comes of it is no longer McNemar's.

True accept rates at a false accept rate have thresholds that were chosen on the impostors, each model's own. That moves
all genuine pairs at once, of which McNemar's test knows nothing: it calls most pairs of equal models different. The
thresholds of an accuracy, which ten folds choose on pairs that they share, move pairs of all folds at once.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.metrics import intervals

SIGNIFICANT = 0.05
LEAST = 2 / (1 + intervals.DRAWS)
"""Of a two-sided probability that draws can tell."""
FOLDS_EFFECT = 1 + 10 / 9
"""How many pairs of ten folds tell as much as one whose threshold is known: folds times (1 / folds + pairs of a fold /
pairs that its threshold was chosen on)."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What the same pairs say of two models."""

    pairs: int
    only_first: int
    """Pairs that only the first model judges rightly."""
    only_second: int
    """Pairs that only the second one does."""
    difference: float
    """Share of right pairs of the second less that of the first."""
    interval: intervals.Interval
    """95 % of the difference; it holds 0 where the test decides nothing, and only there."""
    probability: float
    """Of counts at least as uneven, were both models equally good; two-sided."""

    @property
    def probability_text(self) -> str:
        """With two digits; below what draws can tell, that it is."""
        return f"<{LEAST:.2g}" if self.probability <= LEAST else f"{self.probability:.2g}"

    @property
    def verdict(self) -> str:
        """One of `first`, `second` and `undecided`."""
        if self.probability >= SIGNIFICANT:
            return "undecided"
        return "second" if self.difference > 0 else "first"


def paired_test(first: NDArray[np.bool_], second: NDArray[np.bool_], effect: float = 1.0) -> PairedTest:
    """Compare what two models got right, pair by pair.

    Args:
        first: (P,) whether the first model judges a pair rightly, P at least 1.
        second: (P,) the same of the second.
        effect: how many pairs tell as much as one of strangers.
    """
    pairs, only_first, only_second = len(first), int(np.sum(first & ~second)), int(np.sum(second & ~first))
    fewer, more = sorted((only_first / effect, only_second / effect))
    tail = 0.5 if fewer == more else intervals.beta_distribution(0.5, more, fewer + 1)
    difference, probability = (only_second - only_first) / pairs, min(1.0, 2 * tail)
    interval = _interval(_drawn_differences(only_first, only_second, pairs, effect), probability)
    return PairedTest(pairs, only_first, only_second, difference, interval, probability)


def paired_accuracy_test(first: NDArray[np.bool_], second: NDArray[np.bool_], effect: float = 1.0) -> PairedTest:
    """Compare decisions in ten folds, each by the threshold that is best on the other nine.

    Thresholds that are chosen on pairs in common have luck in common, which shows in none of the counts. What these
    leave open is drawn for as many pairs as Nadeau and Bengio (2003) would count; where few pairs tell the models
    apart, McNemar's probability is the larger one, and taken.
    """
    known = paired_test(first, second, effect)
    counts = known.only_first, known.only_second, known.pairs
    return _allowing(known, _drawn_differences(*counts, FOLDS_EFFECT * effect))


@dataclass(frozen=True, slots=True)
class PersonCounts:
    """The pairs of a rate by person, of S persons in the same order for all models."""

    genuine: NDArray[np.int64]
    """(S,) genuine pairs."""
    accepted: NDArray[np.int64]
    """(S,) those that are accepted."""
    false_accepts: NDArray[np.int64]
    """(S,) accepted impostors that show the person on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedPairs:
    """What one model accepts at its threshold of a false accept rate, and its curve around it."""

    genuine: NDArray[np.bool_]
    """(G,) which genuine pairs, G at least 1."""
    false_accepts: NDArray[np.uint32]
    """Which impostors, by their numbers; where they are many, those among some that are the same for all models."""
    fpr: NDArray[np.float64]
    """(C,) rising false accept rates."""
    tpr: NDArray[np.float64]
    """(C,) true accept rates there."""
    impostors: int
    genuine_effect: float
    """How many genuine pairs tell as much as one of strangers."""
    impostor_effect: float
    """Likewise of impostors."""
    persons: PersonCounts | None = None
    """None where persons are not known."""


def paired_rate_test(first: AcceptedPairs, second: AcceptedPairs, far: float) -> PairedTest:
    """Compare true accept rates at a false accept rate on the same pairs.

    As for the interval of a rate, how many impostors are beyond the thresholds in truth is drawn again and again, and
    with it the rates; here for both models together, whose thresholds share as much luck as their false accepts are
    those of the same persons, or else the same. Where few genuine pairs tell the models apart, the probability by known
    thresholds is the larger one, and taken.
    """
    effect = _difference_effect(first, second)
    known = paired_test(first.genuine, second.genuine, effect)
    drawn = _drawn_differences(known.only_first, known.only_second, known.pairs, effect)
    one, other = (
        np.interp((beyond + 0.5) / side.impostors, side.fpr, side.tpr)
        for side, beyond in zip((first, second), _drawn_beyond(first, second, far), strict=True)
    )
    luck = drawn + other - one
    return _allowing(known, known.difference + luck - luck.mean())


def _difference_effect(first: AcceptedPairs, second: AcceptedPairs) -> float:
    """How many genuine pairs tell as much of the difference of the models as one of strangers.

    Where one model is better for some persons and worse for others that is more than of either model's own rate, and
    where both find the same persons hard it is less.
    """
    known = max(first.genuine_effect, second.genuine_effect)
    if first.persons is None or second.persons is None:
        return known
    pairs, changes = first.persons.genuine, second.persons.accepted - first.persons.accepted
    size, persons = len(first.genuine), int(np.count_nonzero(pairs))
    if persons <= 3:
        return float(size)
    mean = changes.sum() / size
    variance = np.count_nonzero(first.genuine != second.genuine) - size * mean**2
    if variance <= 0:
        return known
    spread = _squares_of_persons((changes - mean * pairs)[pairs > 0])
    return float(np.clip(spread / variance, 1, size))


def _squares_of_persons(sums: NDArray[np.number[Any]]) -> float:
    """Squared sums of persons, and by how much they are too small: about a mean, of few persons, with Student's tails.

    Few with most of it count as few: of normal sums the fourth powers are thrice the squared squares.
    """
    squares = np.square(sums, dtype=np.float64)
    total = float(squares.sum())
    persons = min(len(sums), 3 * total**2 / max(float(np.square(squares).sum()), 1e-9))
    return total * persons / max(persons - 3, 1)


def _allowing(known: PairedTest, differences: NDArray[np.float64]) -> PairedTest:
    """A test by known thresholds, with what their luck leaves open of the difference, as draws of it (DRAWS,)."""
    tail = (1 + min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))) / (1 + len(differences))
    probability = min(1.0, max(known.probability, 2 * float(tail)))
    return replace(known, interval=_interval(differences, probability), probability=probability)


def _interval(differences: NDArray[np.float64], probability: float) -> intervals.Interval:
    """Of draws of a difference of shares; up to 0 where that is not excluded, also by coins, who know no draws."""
    low, high = np.clip(np.quantile(differences, intervals.LEVEL), -1, 1).tolist()
    return (min(low, 0.0), max(high, 0.0)) if probability >= SIGNIFICANT else (low, high)


def _drawn_beyond(first: AcceptedPairs, second: AcceptedPairs, far: float) -> NDArray[np.float64]:
    """(2, DRAWS) impostors beyond the threshold of each model that has the false accept rate in truth."""
    own = max(first.impostor_effect, second.impostor_effect)
    apart = _false_accepts_effect(first, second, own)
    effect = max(own, apart)
    share = 1 - apart / effect  # of the luck of both thresholds that is the same
    random, size = np.random.default_rng(intervals.SEED + 1), max(1, round(first.impostors / effect))
    both, one, other = (random.binomial(size, far * part, intervals.DRAWS) for part in (share, 1 - share, 1 - share))
    return effect * np.array([both + one, both + other])


def _false_accepts_effect(first: AcceptedPairs, second: AcceptedPairs, own: float) -> float:
    """Variance of the difference of false accepts, for each of them, where it is the design effect `own` of each model.

    Without persons it is as much less as false accepts are the same. With them it is that of their sums, which hold
    every pair twice.
    """
    accepts = len(first.false_accepts) + len(second.false_accepts)
    # One more of each model's own: of few that are the same not all would be so again.
    alone = accepts - 2 * len(np.intersect1d(first.false_accepts, second.false_accepts))
    if first.persons is None or second.persons is None or not accepts:
        return own * (alone + 2) / (accepts + 2)
    one, other = first.persons.false_accepts, second.persons.false_accepts
    total = float(one.sum() + other.sum()) / 2
    of_strangers = alone * total / accepts  # of all, where some have been kept
    of_persons = _squares_of_persons(other - one) - of_strangers
    return (max(of_persons, of_strangers) + 2 * own) / (total + 2)


def _drawn_differences(only_first: int, only_second: int, pairs: int, effect: float) -> NDArray[np.float64]:
    """(DRAWS,) what the counts leave open of the difference in truth, by thresholds that are taken as they are."""
    counts = np.array([only_first, only_second, pairs - only_first - only_second]) / effect + 0.5
    shares = np.random.default_rng(intervals.SEED).dirichlet(counts, intervals.DRAWS)
    return np.asarray(shares[:, 1] - shares[:, 0])
