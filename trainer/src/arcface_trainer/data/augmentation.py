"""Random changes of a training image.

Each image has numbers of its own, drawn by its place in the run, so that an image comes out the same whatever the
number of ranks or threads and wherever a run was resumed. They are drawn for the joined batch at once: a generator for
each image would take a fifth of the time of its decoding.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from arcface_faces.images import Image, cv2

FLIP_CHANCE = 0.5
BLUR_CHANCE = 0.2
GREY_CHANCE = 0.15
LARGEST_ANGLE = 12.0
"""Degrees."""
LARGEST_ZOOM = 0.1
LARGEST_SHIFT = 6.0
"""Pixels of a 112-pixel image."""
LARGEST_CONTRAST = 0.3
LARGEST_BRIGHTNESS = 40.0
"""Grey levels."""
BLUR_SIGMA = (0.4, 1.4)
"""Pixels."""
# Keeps this stream apart from the sampler's, which is seeded with (seed, epoch) too.
AUGMENT_STREAM = 2
DRAWS = 10
"""Numbers that an image has: whether it is mirrored, then nine for `strong`."""


def step_draws(seed: int, epoch: int, step: int, images: int) -> NDArray[np.float64]:
    """Numbers (N, 10), uniform in [0, 1), for the N images of the joined batch of an epoch's step."""
    sequence = np.random.SeedSequence((seed, epoch, step, AUGMENT_STREAM))
    return np.random.Generator(np.random.PCG64(sequence)).random((images, DRAWS))


def augment(image: Image, kind: str, draws: Sequence[float]) -> Image:
    """Change an RGB image (H, W, 3) by `kind`: none, flip (mirrored half of the time) or strong; same shape.

    Args:
        image: as decoded.
        kind: `spec.data.augmentation`.
        draws: the ten numbers of the image.
    """
    if kind == "none":
        return image
    if kind not in {"flip", "strong"}:
        raise ValueError(f"no augmentation {kind!r}: none, flip or strong")
    if draws[0] < FLIP_CHANCE:
        image = cast("Image", cv2.flip(image, 1))
    return _strong(image, draws[1:]) if kind == "strong" else image


def _strong(image: Image, draws: Sequence[float]) -> Image:
    angle, zoom, right, down, contrast, brightness = (2 * draw - 1 for draw in draws[:6])
    blur, sigma, grey = draws[6:]
    image = _moved(image, angle * LARGEST_ANGLE, 1 + zoom * LARGEST_ZOOM, right * LARGEST_SHIFT, down * LARGEST_SHIFT)
    image = _lit(image, 1 + contrast * LARGEST_CONTRAST, brightness * LARGEST_BRIGHTNESS)
    if blur < BLUR_CHANCE:
        low, high = BLUR_SIGMA
        image = cast("Image", cv2.GaussianBlur(image, (0, 0), low + sigma * (high - low)))
    if grey < GREY_CHANCE:
        image = cast("Image", cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    return image


def _moved(image: Image, angle: float, scale: float, right: float, down: float) -> Image:
    """Turn and scale about the centre, then shift: one interpolation blurs less than three."""
    height, width = image.shape[:2]
    matrix = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale), np.float64)
    matrix[:, 2] += (right, down)
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return cast("Image", warped)


def _lit(image: Image, contrast: float, brightness: float) -> Image:
    """Stretch about mid-grey and shift, as one table of 256 levels."""
    levels = (np.arange(256, dtype=np.float64) - 127.5) * contrast + 127.5 + brightness
    return cast("Image", cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8)))
