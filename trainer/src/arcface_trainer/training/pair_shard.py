"""A rank's shard of the verification pairs: each rank embeds its part of the pairs of all sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.resource.status import PairResult
from arcface_faces.embedding.embedder import Network, embed
from arcface_faces.images import Image
from arcface_faces.pairs.pair_set import PairSet, check_images, open_sets, set_files
from arcface_faces.pairs.protocol import FOLDS, fold_accuracy, squared_distances

SAMPLE_SEED = 0
"""The same pairs at every verification and on every rank."""


@dataclass(frozen=True, slots=True)
class SampledPairs:
    """The pairs of a set that were drawn to be looked at, in its order."""

    pair_set: PairSet
    pairs: NDArray[np.int64]

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(n,): whether the two images of a pair show one person."""
        return self.pair_set.is_same[self.pairs]


@dataclass(frozen=True, slots=True)
class ShardImages:
    """Images of a shard: 2i and 2i + 1 are its pair i."""

    pairs: list[tuple[PairSet, int]]

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def image(self, number: int) -> Image:
        """One of them."""
        pair_set, pair = self.pairs[number // 2]
        return pair_set.image(2 * pair + number % 2)


@dataclass(frozen=True, slots=True)
class PairShard:
    """All sets, and this rank's shard of their pairs laid end to end."""

    sets: list[SampledPairs]
    world_size: int
    rank: int
    batch_size: int

    @property
    def shard_size(self) -> int:
        """Pairs of each rank; the last ranks may have fewer."""
        return -(-sum(len(sampled.pairs) for sampled in self.sets) // self.world_size)

    @property
    def images(self) -> ShardImages:
        """Images of this rank's pairs."""
        joined = [(sampled.pair_set, int(pair)) for sampled in self.sets for pair in sampled.pairs]
        return ShardImages(joined[self.rank * self.shard_size : (self.rank + 1) * self.shard_size])

    def distances(self, network: Network) -> NDArray[np.float64]:
        """(shard_size,) squared distances of this rank's pairs, filled up with NaN."""
        own = self.images
        filled = np.full(self.shard_size, np.nan)
        if own.pairs:
            filled[: len(own.pairs)] = squared_distances(embed(own, network, self.batch_size))
        return filled

    def results(self, distances: NDArray[np.float64]) -> list[PairResult]:
        """Results on each set from the shards of all ranks, (world_size, shard_size)."""
        joined, start, results = distances.ravel(), 0, []
        for sampled in self.sets:
            stop = start + len(sampled.pairs)
            folds = fold_accuracy(joined[start:stop], sampled.is_same)
            results.append(
                PairResult(dataset=sampled.pair_set.name, accuracy=folds.mean, std=folds.std, pairs=len(sampled.pairs))
            )
            start = stop
        return results


def open_pair_shard(
    evaluation: RunEvaluation, most_pairs: int, world_size: int, rank: int, batch_size: int
) -> PairShard:
    """Open and check the sets; where they have more pairs than may be looked at, a sample of each is taken.

    Each rank decodes its shard beforehand: a damaged image must not end the training after an epoch.

    Raises:
        InvalidInput: naming the set that is missing, damaged or too small.
    """
    opened = open_sets(set_files(evaluation))
    total = sum(len(pair_set.is_same) for pair_set in opened)
    drawn = min(1.0, most_pairs / total)
    shard = PairShard([_sample(pair_set, drawn) for pair_set in opened], world_size, rank, batch_size)
    check_images(shard.images)
    return shard


def _sample(pair_set: PairSet, share: float) -> SampledPairs:
    """A random share of the pairs of a set, at least one for each fold."""
    pairs = len(pair_set.is_same)
    count = max(FOLDS, int(share * pairs))
    return SampledPairs(pair_set, np.sort(np.random.default_rng(SAMPLE_SEED).permutation(pairs)[:count]))
