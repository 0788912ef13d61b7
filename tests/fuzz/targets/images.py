"""Encoded images: what their first bytes say of their size, and OpenCV's decoders behind our gate."""

import io
from typing import Any

import numpy as np

from arcface_faces import image_header, images
from fuzz.target import Target
from support.builders.verification_set import noise_image

DECODED_MEBIBYTES = 400
"""Inputs of 64 KiB state at most 2^25 pixels: 96 MiB, and four times two bytes more for each of a progressive JPEG."""


def targets() -> list[Target]:
    """Of images."""
    pictures = _pictures()
    return [
        Target(name="image-size", samples=pictures, read=_stated, agrees=_is_stated),
        Target(
            name="image",
            samples=pictures,
            read=_decoded,
            agrees=_is_an_image,
            mebibytes=DECODED_MEBIBYTES,
            seconds=20.0,
        ),
    ]


def _pictures() -> list[bytes]:
    found = []
    for suffix in (".png", ".jpg"):
        for size in (112, 8):
            found.append(images.cv2.imencode(suffix, noise_image(size, size, size))[1].tobytes())
    progressive = [images.cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    return [*found, images.cv2.imencode(".jpg", noise_image(1, 16, 16), progressive)[1].tobytes()]


def _stated(data: bytes) -> Any:
    return image_header.stated_size(io.BytesIO(data))


def _is_stated(data: bytes, value: tuple[int, int] | None) -> bool:
    """Both numbers stand side by side in the bytes."""
    if value is None:
        return True
    height, width = value
    sides = (
        (height.to_bytes(2) + width.to_bytes(2)) if data[:1] == b"\xff" else (width.to_bytes(4) + height.to_bytes(4))
    )
    return sides in data


def _decoded(data: bytes) -> Any:
    return images.decode_any_size(data, "image 1")


def _is_an_image(data: bytes, value: images.Image) -> bool:
    is_known = data[:2] == b"\xff\xd8" or data[:4] == b"\x89PNG"
    return is_known and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3 and value.size > 0
