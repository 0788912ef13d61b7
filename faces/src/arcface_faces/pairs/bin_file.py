"""`.bin` verification files: a pickle of (list of encoded images, list of truth values), read without unpickling."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.pickle.file_slice import Coding, Extent, ExtentFile
from arcface_faces.pickle.globals import Array
from arcface_faces.pickle.machine import pickled_value
from arcface_faces.pickle.stack import Items

SHAPE = "a pair set is a tuple of a list of encoded images and a list of truth values"


@dataclass(frozen=True, slots=True)
class PairPickle:
    """Where the images are in the file, and the truth values."""

    file: ExtentFile
    extents: NDArray[np.int64]
    """(N, 4): offset, length, coding and size of each image."""
    is_same: NDArray[np.bool_]

    def encoded(self, image: int) -> bytes:
        """One image as it was encoded, read from the file; InvalidInput without the names of file and image."""
        offset, length, coding, size = (int(number) for number in self.extents[image])
        return self.file.read(Extent(offset, length, Coding(coding), size))


def read_pair_pickle(path: Path) -> PairPickle:
    """Find the images and truth values of a `.bin`; InvalidInput, in one line, for anything else."""
    file = ExtentFile(path)
    match pickled_value(file):
        case (Items() as images, labels) if not images.flags:
            extents = np.array(images.extents, np.int64).reshape(-1, 4)
            return PairPickle(file, extents, _truth_values(file, labels))
    raise InvalidInput(f"{path}: {SHAPE}; this file holds something else")


def _truth_values(file: ExtentFile, labels: object) -> NDArray[np.bool_]:
    match labels:
        case Items() if not labels.extents:
            return np.array(labels.flags, np.bool_)
        case Array(extent=Extent() as extent, is_bool=True):
            return np.frombuffer(_array_bytes(file, extent), np.uint8).astype(np.bool_)
    raise InvalidInput(f"{file.path}: {SHAPE}; the second part holds something else")


def _array_bytes(file: ExtentFile, extent: Extent) -> bytes:
    try:
        return file.read(extent)
    except InvalidInput as error:
        raise InvalidInput(f"{file.path}: truth values: {error}") from error
