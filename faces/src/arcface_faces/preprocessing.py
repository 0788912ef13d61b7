"""How images are prepared for a network in a model file: the file says it, or the user must.

A wrong preprocessing costs accuracy and raises no error, so that nothing is guessed.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from arcface_api.errors import InvalidInput
from arcface_api.model import Model

METADATA_KEY = "arcface.preprocessing"
"""Entry of an ONNX file's metadata with the JSON of how images are prepared."""


class Preprocessing(Model):
    """From the pixels of an aligned image to what a model takes."""

    model_config = ConfigDict(extra="ignore")

    channels: Literal["RGB", "BGR"] = "RGB"
    """Their order."""
    mean: float
    """Subtracted from each pixel."""
    scale: float = Field(gt=0)
    """Divides the difference."""

    def prepared(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB images (B, 3, H, W) as the model takes them."""
        pixels = (images.astype(np.float32) - np.float32(self.mean)) / np.float32(self.scale)
        return np.ascontiguousarray(pixels[:, ::-1]) if self.channels == "BGR" else pixels


def agreed(path: Path, stored: str | bytes | None, where: str, declared: Preprocessing | None) -> Preprocessing:
    """What the model says itself, or what is declared where it says nothing.

    Args:
        path: the model's file.
        stored: JSON that goes with it.
        where: place of that JSON, for messages.
        declared: what the user says.

    Raises:
        InvalidInput: where neither or both say how images are prepared.
    """
    if stored is None:
        if declared is None:
            raise InvalidInput(f"{path}: does not say how images are prepared; give --mean, --scale and --channels")
        return declared
    found = Preprocessing.from_json(stored, where)
    if declared is not None and declared != found:
        raise InvalidInput(f"{path}: says itself how images are prepared; leave --mean, --scale and --channels out")
    return found
