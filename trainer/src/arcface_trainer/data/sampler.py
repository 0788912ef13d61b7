"""Which images a rank takes at a step: a function of (seed, epoch, position) alone.

Nothing is remembered between steps, so a run continues at any step, with any world size, exactly where it stopped.
The joined batch of all ranks does not depend on their number.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput

# Keeps this stream apart from others that are seeded with (seed, epoch).
SHUFFLE_STREAM = 1


@dataclass(frozen=True, slots=True)
class BatchShare:
    """A rank's share of one step: positions within the epoch's order and the images that stand there."""

    epoch: int
    positions: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Shuffled batches without replacement; the remainder of an epoch that fills no batch is left out."""

    dataset_size: int
    global_batch_size: int
    seed: int
    world_size: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InvalidInput(f"training.seed {self.seed} is negative: choose 0 or more")
        if not 0 <= self.rank < self.world_size:
            raise InvalidInput(f"rank {self.rank} lies outside the world of {self.world_size} ranks")
        if self.global_batch_size < 1 or self.global_batch_size % self.world_size:
            raise InvalidInput(
                f"total batch {self.global_batch_size} cannot be split evenly over {self.world_size} ranks: "
                "choose a multiple"
            )
        if self.dataset_size < self.global_batch_size:
            raise InvalidInput(
                f"{self.dataset_size} images do not fill one total batch of {self.global_batch_size}: lower "
                "training.batchSize or the number of ranks, or add images"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in one epoch, at least 1."""
        return self.dataset_size // self.global_batch_size

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """Order of all images in this epoch, the same on every rank (read-only array)."""
        return _permutation(self.dataset_size, self.seed, epoch)

    def batch(self, step: int) -> BatchShare:
        """This rank's part of the global step, counted from 0 across epochs."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        share = self.global_batch_size // self.world_size
        start = step_of_epoch * self.global_batch_size + self.rank * share
        positions = np.arange(start, start + share, dtype=np.int64)
        return BatchShare(epoch, positions, self.permutation(epoch)[positions])


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Sorted random words rather than `Generator.permutation`, whose stream may change between NumPy releases."""
    words = np.random.PCG64(np.random.SeedSequence((seed, epoch, SHUFFLE_STREAM))).random_raw(size)
    order = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    order.setflags(write=False)
    return order
