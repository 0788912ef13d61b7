"""Identities as they are stored, turned into classes of a softmax."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput


def select_identities(
    raw_labels: NDArray[np.int64], min_images: int, directory: Path
) -> tuple[NDArray[np.bool_], NDArray[np.int64], int]:
    """Which images belong to identities with enough images, their labels without gaps, and identities dropped.

    Raises:
        InvalidInput: where nothing is left.
    """
    _, numbers, counts = np.unique(raw_labels, return_inverse=True, return_counts=True)
    is_kept_class = counts >= min_images
    is_kept = is_kept_class[numbers]
    if not is_kept.any():
        raise InvalidInput(f"{directory}: no identity has {min_images} images: lower data.minImagesPerIdentity")
    renumbered = np.cumsum(is_kept_class) - 1
    return is_kept, renumbered[numbers[is_kept]].astype(np.int64), int((~is_kept_class).sum())
