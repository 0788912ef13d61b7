"""`.bin` verification files: a pickle of (list of encoded images, list of truth values), read without unpickling."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api import os_errors
from arcface_api.errors import InvalidInput
from arcface_faces.pickle.globals import Array
from arcface_faces.pickle.machine import pickled_value
from arcface_faces.pickle.stack import Items
from arcface_faces.pickle.stream import Coding, FileSlice, SlicedFile

SHAPE = "a pair set is a tuple of a list of encoded images and a list of truth values"
PICKLE_PROTOCOL = 4
"""Of files that are written; all are read."""


@dataclass(frozen=True, slots=True)
class PairPickle:
    """Where the images are in the file, and the truth values."""

    file: SlicedFile
    slices: NDArray[np.int64]
    """(N, 4): offset, length, coding and size of each image."""
    is_same: NDArray[np.bool_]

    def encoded(self, image: int) -> bytes:
        """One image as it was encoded, read from the file; InvalidInput without the names of file and image."""
        offset, length, coding, size = (int(number) for number in self.slices[image])
        return self.file.read(FileSlice(offset, length, Coding(coding), size))


def read_pair_pickle(path: Path) -> PairPickle:
    """Find the images and truth values of a `.bin`; InvalidInput, in one line, for anything else."""
    file = SlicedFile(path)
    match pickled_value(file):
        case (Items() as images, labels) if not images.flags:
            slices = np.array(images.slices, np.int64).reshape(-1, 4)
            return PairPickle(file, slices, _truth_values(file, labels))
    raise InvalidInput(f"{path}: {SHAPE}; this file holds something else")


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
    with os_errors.explained(path, "cannot be written", "name another file or mend its folder"):
        with partial.open("wb") as file:
            pickle.dump((images, is_same), file, PICKLE_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)


def _truth_values(file: SlicedFile, labels: object) -> NDArray[np.bool_]:
    match labels:
        case Items() if not labels.slices:
            return np.array(labels.flags, np.bool_)
        case Array(data=FileSlice() as part, is_bool=True):
            return np.frombuffer(_array_bytes(file, part), np.uint8).astype(np.bool_)
    raise InvalidInput(f"{file.path}: {SHAPE}; the second part holds something else")


def _array_bytes(file: SlicedFile, part: FileSlice) -> bytes:
    try:
        return file.read(part)
    except InvalidInput as error:
        raise InvalidInput(f"{file.path}: truth values: {error}") from error
