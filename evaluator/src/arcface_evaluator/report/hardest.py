"""The pairs that a model is most wrong about, with their images."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_faces.images.decoding import Image
from arcface_faces.images.opencv import cv2

SHOWN = 8
"""Of each kind."""


@dataclass(frozen=True, slots=True)
class HardPair:
    """Two images and what was made of them."""

    caption: str
    images: tuple[Image, Image]

    @property
    def base64(self) -> list[str]:
        """The images as PNG for a page."""
        encoded = [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in self.images]
        return [base64.b64encode(content).decode("ascii") for content in encoded]


@dataclass(frozen=True, slots=True)
class HardPairs:
    """The hardest pairs of one kind in a set."""

    dataset: str
    title: str
    pairs: list[HardPair]


def hardest_pairs(
    dataset: str, scores: NDArray[np.float64], is_same: NDArray[np.bool_], show: Callable[[int, str], HardPair]
) -> list[HardPairs]:
    """Genuine pairs with the lowest and impostors with the highest scores.

    Args:
        dataset: name of the set.
        scores: (P,), the higher the more alike.
        is_same: (P,).
        show: makes the pair of a number and a caption that begins with its score.
    """
    genuine, impostors = np.flatnonzero(is_same), np.flatnonzero(~is_same)
    alike = genuine[np.argsort(scores[genuine], kind="stable")[:SHOWN]]
    different = impostors[np.argsort(-scores[impostors], kind="stable")[:SHOWN]]
    titles = {"One person, least alike": alike, "Two persons, most alike": different}
    return [
        HardPairs(dataset, title, [show(int(number), f"{scores[number]:.3f}") for number in numbers])
        for title, numbers in titles.items()
    ]
