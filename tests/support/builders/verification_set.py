"""Small verification sets: images drawn from a seed, files pickled like the public ones."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def encoded_image(seed: int, height: int = 112, width: int = 112) -> bytes:
    """PNG of noise, so that decoding gives back the pixels of `noise_image`."""
    encoded = cv2.imencode(".png", noise_image(seed, height, width)[:, :, ::-1])[1]
    return encoded.tobytes()


def noise_image(seed: int, height: int = 112, width: int = 112) -> NDArray[np.uint8]:
    """RGB noise in patches of 8 pixels."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)


def write_set(path: Path, images: Sequence[object], is_same: Sequence[object], protocol: int = 4) -> Path:
    """Pickle a set."""
    path.write_bytes(pickle.dumps((list(images), list(is_same)), protocol))
    return path


def write_pairs(path: Path, pairs: int) -> Path:
    """A set of noise images, whose even pairs show the same image twice."""
    seeds = [seed for pair in range(pairs) for seed in (2 * pair, 2 * pair + pair % 2)]
    return write_set(path, [encoded_image(seed) for seed in seeds], [pair % 2 == 0 for pair in range(pairs)])


def corner_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network whose answer tells mirrored images apart: the patches of the upper left quarter."""
    return images[:, :, :56:8, :56:8].reshape(len(images), -1).astype(np.float32) - 127.5


class Shown(list[NDArray[np.uint8]]):
    """Images that are all there."""

    def image(self, number: int) -> NDArray[np.uint8]:
        """One of them."""
        return self[number]
