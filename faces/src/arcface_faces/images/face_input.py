"""What a network takes: facts of the networks trained here, and what manifests, ONNX metadata and side files say.

A wrong preprocessing costs accuracy and raises no error, so that nothing is guessed: a model says it, or the user must.
"""

from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from arcface_api import architectures
from arcface_api.errors import InvalidInput
from arcface_api.model import Model

IMAGE_SIZE: Final = architectures.IMAGE_SIZE
"""Height and width in pixels."""
PIXEL_MEAN: Final = 127.5
PIXEL_SCALE: Final = 127.5
"""A network sees (pixel - mean) / scale, channels in the order red, green, blue."""
LANDMARKS: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where eyes, nose and corners of the mouth lie (x, y) in an aligned image (InsightFace's template for 112x112)."""
METADATA_KEY = "arcface.preprocessing"
"""Entry of an ONNX file's metadata with the JSON of how images are prepared."""


class Preprocessing(Model):
    """From an aligned image to the network's input."""

    model_config = ConfigDict(extra="ignore")

    height: int = IMAGE_SIZE
    """Pixels."""
    width: int = IMAGE_SIZE
    """Pixels."""
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the channels."""
    mean: float
    """Subtracted from each pixel."""
    scale: float = Field(gt=0)
    """Divides the difference."""
    landmarks: tuple[tuple[float, float], ...] = LANDMARKS
    """Where eyes, nose and corners of the mouth lie (x, y) after alignment."""

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB images (B, 3, H, W) as the network takes them."""
        pixels = (images.astype(np.float32) - np.float32(self.mean)) / np.float32(self.scale)
        return np.ascontiguousarray(pixels[:, ::-1]) if self.channels == "BGR" else pixels


OWN_PREPROCESSING = Preprocessing(mean=PIXEL_MEAN, scale=PIXEL_SCALE)
"""Of the networks that are trained here."""


def resolve_preprocessing(
    path: Path, stored: str | bytes | None, where: str, declared: Preprocessing | None
) -> Preprocessing:
    """What the model says itself, or what is declared where it says nothing.

    Args:
        path: the model's file.
        stored: JSON that goes with it.
        where: place of that JSON, for messages.
        declared: what the user says of channels, mean and scale.

    Raises:
        InvalidInput: where neither or both say how images are prepared.
    """
    if stored is None:
        if declared is None:
            raise InvalidInput(f"{path}: does not say how images are prepared; give --mean, --scale and --channels")
        return declared
    found = Preprocessing.from_json(stored, where)
    if declared is not None and _pixel_rule(declared) != _pixel_rule(found):
        raise InvalidInput(f"{path}: says itself how images are prepared; leave --mean, --scale and --channels out")
    return found


def _pixel_rule(preprocessing: Preprocessing) -> tuple[str, float, float]:
    return preprocessing.channels, preprocessing.mean, preprocessing.scale
