"""The order of the images in an epoch: a function of (seed, epoch, position) alone, the same on every rank and machine.

Fully shuffled, each image is read from another place of the file. A volume on a network gives thousands of large reads
a second for the price of as many small ones, so the shuffle can be kept within windows: runs of neighbouring images,
which one read takes, are dealt to windows at random, and the images of a window are shuffled among each other.
"""

from collections.abc import Iterator
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

# Keeps these streams apart from others that are seeded with (seed, epoch).
SHUFFLE_STREAM, RUN_STREAM = 1, 3
RUN = 256
"""Neighbouring images that stay in one window: 1.5 MB of MS1MV2, as much as network file systems read at once."""
BLOCK = 1 << 20
"""Random words drawn at once."""
SHARE_BITS = 3
"""Of the words: a full order is sorted in a share for each value of these, one after the other, to spare memory."""
_LOCK = Lock()


def epoch_order(size: int, seed: int, epoch: int, window: int | None) -> NDArray[np.int32]:
    """Images by position, (size,), read-only; of the two last epochs asked for, computed once in a process.

    Args:
        size: images of the set, fewer than 2^31.
        seed: of the training.
        epoch: counted from 0.
        window: images that are shuffled with each other; None for all.
    """
    with _LOCK:  # else all threads that decode would sort at the start of an epoch
        return _order(size, seed, epoch, window)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int, window: int | None) -> NDArray[np.int32]:
    order = _full(size, seed, epoch) if window is None else _windowed(size, seed, epoch, window)
    order.setflags(write=False)
    return order


def _words(size: int, seed: int, epoch: int, stream: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Random words rather than `Generator.permutation`, whose stream may change between NumPy releases.

    In blocks, each with the position of its first word.
    """
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, stream)))
    for start in range(0, size, BLOCK):
        yield start, bits.random_raw(min(BLOCK, size - start))


def _full(size: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """Positions sorted by their words, equal ones in their order; words are drawn anew for each share of them."""
    order = np.empty(size, np.int32)
    filled = 0
    for share in range(1 << SHARE_BITS):
        drawn = [
            (word[chosen], (start + chosen).astype(np.int32))
            for start, word in _words(size, seed, epoch, SHUFFLE_STREAM)
            for chosen in (np.flatnonzero(word >> np.uint64(64 - SHARE_BITS) == share),)
        ]
        words, positions = (np.concatenate(column) for column in zip(*drawn, strict=True))
        drawn.clear()
        order[filled : filled + len(words)] = positions[np.argsort(words, kind="stable")]
        filled += len(words)
    return order


def _windowed(size: int, seed: int, epoch: int, window: int) -> NDArray[np.int32]:
    """Runs in random order, then each window of it shuffled."""
    order = np.empty(size, np.int32)
    filled = 0
    for run in _run_order(size, seed, epoch).tolist():
        images = np.arange(run * RUN, min((run + 1) * RUN, size), dtype=np.int32)
        order[filled : filled + len(images)] = images
        filled += len(images)
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, SHUFFLE_STREAM)))
    for start in range(0, size, window):
        part = order[start : start + window]
        part[:] = part[np.argsort(bits.random_raw(len(part)), kind="stable")]
    return order


def _run_order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Runs of neighbouring images as the windows take them one after the other; the set's last run may be shorter."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, RUN_STREAM)))
    return np.argsort(bits.random_raw(-(-size // RUN)), kind="stable")


def runs_of_window(size: int, seed: int, epoch: int, window: int, number: int) -> list[tuple[int, int]]:
    """First image and the one behind the last of each run that a window needs."""
    # A short run before a window shifts it by less than a run: one more at its end covers that.
    first, stop = number * window // RUN, -(-(number + 1) * window // RUN) + 1
    return [(run * RUN, min((run + 1) * RUN, size)) for run in _run_order(size, seed, epoch)[first:stop].tolist()]
