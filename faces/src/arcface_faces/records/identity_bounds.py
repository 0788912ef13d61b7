"""Where the images of each identity begin, by numbers that were rounded to float32 when they were stored.

Whole numbers are exact up to 2^24. Above that a number stands for two neighbours on each side at most (up to 2^26), and
for itself alone where a tie would have gone to another. The images' own heads tell which: those between the first and
the last key that a number may stand for, and no others.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LabelsOf = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Labels of images by their keys, which ascend."""

FEW = 0.1
"""Share of the images up to which heads that name other people are damage, and not another way to number them."""


def exact_bounds(stored: NDArray[np.float64], stop: int, labels_of: LabelsOf) -> NDArray[np.int64] | None:
    """First key of each identity and, last, the first behind all images, (N + 1,).

    Args:
        stored: the first keys as they were stored, whole numbers that ascend, (N,).
        stop: the first key behind all images.
        labels_of: asked for the images that decide.

    Returns:
        None where the images asked, but for `FEW`, do not number people from 0 on in the order of their keys. Those few
        are damaged, and name another person than the one they are counted to.
    """
    candidates, is_possible = _candidates(stored, stop)
    lowest = candidates[np.arange(len(stored)), is_possible.argmax(axis=1)]
    # The last candidate needs no image of its own: it is what remains.
    is_asked = is_possible & (np.cumsum(is_possible, axis=1) < is_possible.sum(axis=1, keepdims=True))
    keys = np.unique(candidates[is_asked])
    if not len(keys):
        return np.append(lowest, stop)
    labels = labels_of(keys)
    is_earlier = labels[np.searchsorted(keys, candidates).clip(max=len(keys) - 1)] < np.arange(len(stored))[:, None]
    bounds = np.append(lowest + (is_asked & is_earlier).sum(axis=1), stop)
    others = np.count_nonzero(np.searchsorted(bounds, keys, side="right") - 1 != labels)
    return bounds if (np.diff(bounds) >= 0).all() and others <= FEW * len(keys) else None


def _candidates(stored: NDArray[np.float64], stop: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Keys about each stored number, (N, W) ascending, and whether one of them would have been stored so."""
    reach = int(np.spacing(np.float32(stop))) // 2
    candidates = stored.astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    return candidates, (candidates.astype(np.float32) == stored[:, None]) & (candidates <= stop) & (candidates > 0)
