"""Writes a verification set: the pickle of encoded images (two a pair) and of whether each pair is one person."""

import os
import pickle
from pathlib import Path

from arcface_api.errors import InvalidInput

PROTOCOL = 4


def write_pairs(path: Path, images: list[bytes], is_same: list[bool]) -> None:
    """Write a `.bin` under another name and rename it.

    Args:
        path: the file; it must not exist.
        images: encoded images, pair i at 2i and 2i + 1.
        is_same: one entry a pair.
    """
    if path.exists():
        raise InvalidInput(f"{path}: exists already: choose another name or remove it first")
    if len(images) != 2 * len(is_same):
        raise ValueError(f"{len(images)} images for {len(is_same)} pairs")
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            pickle.dump((images, is_same), file, PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be written ({error.strerror}): name another file or mend its folder"
        ) from None
