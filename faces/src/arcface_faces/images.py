"""From the bytes of an encoded image to its pixels."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.face_input import IMAGE_SIZE
from arcface_faces.opencv import MOST_PIXELS, cv2

Image = NDArray[np.uint8]
"""RGB (112, 112, 3)."""


def decode(data: bytes, where: str) -> Image:
    """Pixels of an encoded image; InvalidInput, naming `where`, for anything but a 112x112 image."""
    image = decode_any_size(data, where)
    height, width = image.shape[:2]
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(
            f"{where}: the image is {width}x{height}: align and scale it to {IMAGE_SIZE}x{IMAGE_SIZE} first"
        )
    return image


def decode_any_size(data: bytes, where: str) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) of an encoded image; InvalidInput, naming `where`, where it cannot be decoded."""
    if not data:
        raise InvalidInput(f"{where}: the image is empty")
    try:
        # Orientation tags are ignored: aligned images are stored upright, and MXNet's decoder ignores them too.
        blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        blue_first = None
    if blue_first is None:
        raise InvalidInput(
            f"{where}: {len(data)} bytes are not an image that OpenCV can decode (of at most {MOST_PIXELS} pixels)"
        )
    return cast("NDArray[np.uint8]", cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB))
