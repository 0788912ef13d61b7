"""Pair sets judged during the training: each rank embeds a share of the pairs of all sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.resource.status import PairResult
from arcface_faces.embedding.embedder import Network, embed
from arcface_faces.images.decoding import Image
from arcface_faces.pairs.pair_set import PairSet, check_images, open_sets, set_files
from arcface_faces.pairs.protocol import FOLDS, fold_accuracy, squared_distances

CHOICE_SEED = 0
"""The same pairs at every verification and on every rank."""


@dataclass(frozen=True, slots=True)
class ChosenPairs:
    """The pairs of a set that are looked at, in its order."""

    pair_set: PairSet
    pairs: NDArray[np.int64]

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(n,): whether the two images of a pair show one person."""
        return self.pair_set.is_same[self.pairs]


@dataclass(frozen=True, slots=True)
class ShareImages:
    """Images of a share of the pairs: 2i and 2i + 1 are its pair i."""

    pairs: list[tuple[PairSet, int]]

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def image(self, number: int) -> Image:
        """One of them."""
        pair_set, pair = self.pairs[number // 2]
        return pair_set.image(2 * pair + number % 2)


@dataclass(frozen=True, slots=True)
class SharedPairs:
    """All sets, and this rank's share of their pairs laid end to end."""

    sets: list[ChosenPairs]
    ranks: int
    rank: int
    batch_size: int

    @property
    def share_size(self) -> int:
        """Pairs of each rank; the last ranks may have fewer."""
        return -(-sum(len(chosen.pairs) for chosen in self.sets) // self.ranks)

    @property
    def images(self) -> ShareImages:
        """Images of this rank's pairs."""
        joined = [(chosen.pair_set, int(pair)) for chosen in self.sets for pair in chosen.pairs]
        return ShareImages(joined[self.rank * self.share_size : (self.rank + 1) * self.share_size])

    def distances(self, network: Network) -> NDArray[np.float64]:
        """(share_size,) squared distances of this rank's pairs, filled up with NaN."""
        own = self.images
        filled = np.full(self.share_size, np.nan)
        if own.pairs:
            filled[: len(own.pairs)] = squared_distances(embed(own, network, self.batch_size))
        return filled

    def results(self, distances: NDArray[np.float64]) -> list[PairResult]:
        """Results on each set from the shares of all ranks, (ranks, share_size)."""
        joined, start, results = distances.ravel(), 0, []
        for chosen in self.sets:
            stop = start + len(chosen.pairs)
            folds = fold_accuracy(joined[start:stop], chosen.is_same)
            results.append(
                PairResult(dataset=chosen.pair_set.name, accuracy=folds.mean, std=folds.std, pairs=len(chosen.pairs))
            )
            start = stop
        return results


def open_shared(evaluation: RunEvaluation, most_pairs: int, ranks: int, rank: int, batch_size: int) -> SharedPairs:
    """Open and check the sets; where they have more pairs than may be looked at, some are chosen of each.

    Each rank decodes its share beforehand: a damaged image must not end the training after an epoch.

    Raises:
        InvalidInput: naming the set that is missing, damaged or too small.
    """
    opened = open_sets(set_files(evaluation))
    total = sum(len(pair_set.is_same) for pair_set in opened)
    share = min(1.0, most_pairs / total)
    shared = SharedPairs([choose(pair_set, share) for pair_set in opened], ranks, rank, batch_size)
    check_images(shared.images)
    return shared


def choose(pair_set: PairSet, share: float) -> ChosenPairs:
    """A random share of the pairs of a set, at least one for each fold."""
    pairs = len(pair_set.is_same)
    count = max(FOLDS, int(share * pairs))
    return ChosenPairs(pair_set, np.sort(np.random.default_rng(CHOICE_SEED).permutation(pairs)[:count]))
