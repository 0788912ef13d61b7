"""From the bytes of an encoded picture to its pixels."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_trainer.backbone_input import IMAGE_SIZE
from arcface_trainer.opencv import MOST_PIXELS, cv2

Picture = NDArray[np.uint8]
"""RGB (112, 112, 3)."""


def decode(data: bytes, where: str) -> Picture:
    """Pixels of an encoded picture; InvalidInput, naming `where`, for anything but a 112x112 picture."""
    picture = decode_any_size(data, where)
    height, width = picture.shape[:2]
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(
            f"{where}: the picture is {width}x{height}: align and scale it to {IMAGE_SIZE}x{IMAGE_SIZE} first"
        )
    return picture


def decode_any_size(data: bytes, where: str) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) of an encoded picture; InvalidInput, naming `where`, where it cannot be decoded."""
    if not data:
        raise InvalidInput(f"{where}: the picture is empty")
    try:
        # Orientation tags are ignored: aligned pictures are stored upright, and MXNet's decoder ignores them too.
        blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        blue_first = None
    if blue_first is None:
        raise InvalidInput(
            f"{where}: {len(data)} bytes are not a picture that OpenCV can decode (of at most {MOST_PIXELS} pixels)"
        )
    return cast("NDArray[np.uint8]", cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB))
