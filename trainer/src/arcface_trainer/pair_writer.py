"""Writes a verification set: the pickle of encoded pictures (two a pair) and of whether each pair is one person."""

import os
import pickle
from pathlib import Path

from arcface_api.errors import InvalidInput

PROTOCOL = 4


def write_pairs(path: Path, pictures: list[bytes], is_same: list[bool]) -> None:
    """Write a `.bin` under another name and rename it.

    Args:
        path: the file; it must not exist.
        pictures: encoded pictures, pair i at 2i and 2i + 1.
        is_same: one entry a pair.
    """
    if path.exists():
        raise InvalidInput(f"{path}: exists already: choose another name or remove it first")
    if len(pictures) != 2 * len(is_same):
        raise ValueError(f"{len(pictures)} pictures for {len(is_same)} pairs")
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            pickle.dump((pictures, is_same), file, PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be written ({error.strerror}): name another file or mend its folder"
        ) from None
