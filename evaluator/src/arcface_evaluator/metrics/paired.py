"""Whether one model is better than another on the same pairs.

Only pairs that one of them judges rightly and the other wrongly tell them apart. If both were equally good each such
pair would be a coin's throw: the exact test of McNemar (1947). The interval of the difference draws the three shares
(only the one is right, only the other, both or none) from what the counts leave open: a Dirichlet distribution with
Jeffreys' prior. Where pairs share persons all counts are divided by the design effect (Rao and Scott, 1981).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.metrics import intervals

SIGNIFICANT = 0.05


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
    """95 % of the difference."""
    probability: float
    """Of counts at least as uneven, were both models equally good; two-sided."""

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
    counts = np.array([only_first, only_second, pairs - only_first - only_second]) / effect + 0.5
    shares = np.random.default_rng(intervals.SEED).dirichlet(counts, intervals.DRAWS)
    low, high = np.quantile(shares[:, 1] - shares[:, 0], intervals.LEVEL)
    difference = (only_second - only_first) / pairs
    return PairedTest(pairs, only_first, only_second, difference, (float(low), float(high)), min(1.0, 2 * tail))
