"""From the bytes of an encoded image to its pixels. The one place that imports OpenCV, which reads its limits then.

An image of a few kilobytes may announce a billion pixels; OpenCV's own limit would let it take gigabytes.
"""

import os
from typing import cast

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.images.face_input import IMAGE_SIZE

MOST_PIXELS = 1 << 26
"""Of an image that is decoded; a face has 12,544."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2  # noqa: E402 - only now

__all__ = ["MOST_PIXELS", "Image", "cv2", "decode", "decode_any_size", "decode_scaled"]

Image = NDArray[np.uint8]
"""RGB (H, W, 3); as networks take it, (112, 112, 3)."""

FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
"""Orientation tags are ignored: aligned images are stored upright, and MXNet's decoder ignores them too."""


def decode(data: bytes, where: str) -> Image:
    """Pixels of an encoded image; InvalidInput, naming `where`, for anything but a 112x112 image."""
    image = decode_any_size(data, where)
    height, width = image.shape[:2]
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(
            f"{where}: the image is {width}x{height}: align and scale it to {IMAGE_SIZE}x{IMAGE_SIZE} first"
        )
    return image


def decode_scaled(data: bytes, where: str) -> Image:
    """Pixels (112, 112, 3) of an encoded image of a verification set.

    As in the reference, another size is scaled (bicubic, its default) until the short side has 112 pixels, and nothing
    is cut off: what is not square then is InvalidInput, naming `where`.
    """
    image = decode_any_size(data, where)
    height, width = image.shape[:2]
    if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    short = min(height, width)
    if (IMAGE_SIZE * height // short, IMAGE_SIZE * width // short) != (IMAGE_SIZE, IMAGE_SIZE):
        side = f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        raise InvalidInput(f"{where}: has {width}x{height} pixels; images must be {side} or square: align them first")
    scaled = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cast("Image", scaled)


def decode_any_size(data: bytes, where: str) -> Image:
    """Pixels of an encoded image; InvalidInput, naming `where`, where it cannot be decoded."""
    try:
        blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS) if data else None
    except cv2.error:
        blue_first = None
    if blue_first is None:
        raise InvalidInput(
            f"{where}: does not decode as an image of at most {MOST_PIXELS} pixels (it has {len(data)} bytes)"
        )
    return cast("Image", cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB))
