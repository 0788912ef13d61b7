"""Small verification sets: pictures drawn from a seed, files pickled like the public ones."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def encoded_picture(seed: int, height: int = 112, width: int = 112) -> bytes:
    """PNG of noise, so that decoding gives back the pixels of `picture`."""
    encoded = cv2.imencode(".png", picture(seed, height, width)[:, :, ::-1])[1]
    return encoded.tobytes()


def picture(seed: int, height: int = 112, width: int = 112) -> NDArray[np.uint8]:
    """RGB noise in patches of 8 pixels."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)


def write_set(path: Path, pictures: Sequence[object], is_same: Sequence[object], protocol: int = 4) -> Path:
    """Pickle a set."""
    path.write_bytes(pickle.dumps((list(pictures), list(is_same)), protocol))
    return path


def write_pairs(path: Path, pairs: int) -> Path:
    """A set of noise pictures, whose even pairs show the same picture twice."""
    seeds = [seed for pair in range(pairs) for seed in (2 * pair, 2 * pair + pair % 2)]
    return write_set(path, [encoded_picture(seed) for seed in seeds], [pair % 2 == 0 for pair in range(pairs)])


def corner_network(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network whose answer tells mirrored pictures apart: the patches of the upper left quarter."""
    return pictures[:, :, :56:8, :56:8].reshape(len(pictures), -1).astype(np.float32) - 127.5


class Shown(list[NDArray[np.uint8]]):
    """Pictures that are all there."""

    def picture(self, number: int) -> NDArray[np.uint8]:
        """One of them."""
        return self[number]
