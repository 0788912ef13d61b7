"""A verification set: pictures 2i and 2i + 1 are pair i."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_evaluator.pair_pickle import PairPickle, read_pair_pickle
from arcface_trainer.opencv import MOST_PIXELS, cv2

SIDE = 112
"""Pixels of a side of the pictures that the networks take."""
UNDECODABLE = f"does not decode as a picture (of at most {MOST_PIXELS} pixels)"


@dataclass(frozen=True, slots=True)
class PairSet:
    """The set in one `.bin` file; pictures stay in the file until they are asked for."""

    name: str
    path: Path
    pickle: PairPickle

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(pairs,): whether the two pictures of a pair show one person."""
        return self.pickle.is_same

    def picture(self, number: int) -> NDArray[np.uint8]:
        """One picture as the network takes it; InvalidInput naming file and number where it is none."""
        try:
            return face(self.pickle.encoded(number))
        except InvalidInput as error:
            raise InvalidInput(f"{self.path}: picture {number}: {error}") from error

    def __len__(self) -> int:
        """Number of pictures, twice the number of pairs."""
        return len(self.pickle.extents)


def read_pair_set(path: Path) -> PairSet:
    """Open a `.bin`; InvalidInput where pictures and truth values do not make pairs."""
    pickle = read_pair_pickle(path)
    pictures, pairs = len(pickle.extents), len(pickle.is_same)
    if not pictures:
        raise InvalidInput(f"{path}: holds no pictures")
    if pictures % 2:
        raise InvalidInput(f"{path}: holds {pictures} pictures, an odd number: pictures 2i and 2i + 1 make pair i")
    if pictures != 2 * pairs:
        raise InvalidInput(
            f"{path}: holds {pictures} pictures but {pairs} truth values; they should be {pictures // 2}"
        )
    return PairSet(path.stem, path, pickle)


def face(encoded: bytes) -> NDArray[np.uint8]:
    """RGB picture (112, 112, 3).

    As in the reference, another size is scaled (bicubic, its default) until the short side has 112 pixels, and nothing
    is cut off: what is not square then is InvalidInput.
    """
    decoded = _decoded(encoded)
    height, width = decoded.shape[:2]
    if (height, width) == (SIDE, SIDE):
        return np.ascontiguousarray(decoded[:, :, ::-1])
    short = min(height, width)
    scaled_height, scaled_width = SIDE * height // short, SIDE * width // short
    if (scaled_height, scaled_width) != (SIDE, SIDE):
        raise InvalidInput(f"has {width}x{height} pixels; pictures must be {SIDE}x{SIDE} or square: align them first")
    scaled = cv2.resize(decoded, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(scaled[:, :, ::-1], dtype=np.uint8)


def _decoded(encoded: bytes) -> NDArray[np.uint8]:
    try:
        # Orientation tags are ignored, as in training and by the decoder of the reference.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except cv2.error as error:
        raise InvalidInput(UNDECODABLE) from error
    if decoded is None:
        raise InvalidInput(UNDECODABLE)
    return decoded.astype(np.uint8, copy=False)
