"""Images as networks take them: what is taken, decoding to it, and alignment to it.

A wrong preprocessing costs accuracy and raises no error, so that nothing is guessed: a model says it, or the user must.
This is the one place that imports OpenCV, and no image reaches its decoders that does not say before what they will
have to do for it (`image_header`): one of a hundred bytes may announce gigabytes.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from arcface_api import architectures
from arcface_api.errors import InvalidInput
from arcface_api.model import Model
from arcface_faces import image_header

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

    @property
    def interval(self) -> tuple[float, float]:
        """What black and white become."""
        return (0 - self.mean) / self.scale, (255 - self.mean) / self.scale

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


MOST_PIXELS = 1 << 26
"""Of a photograph, more than those of telephones have; a face has 12,544. OpenCV reads this limit as it is imported."""
MOST_ALIGNED_PIXELS = 1 << 22
"""Of an aligned image that is scaled: 2048x2048."""
PIXELS_PER_BYTE = 512
"""At most: what announces more shows no face. Photographs have 5 to 100; JPEG's format itself allows no more than this,
PNG's only for images of one colour."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2 as cv2  # noqa: E402, PLC0414 - only now; others import it from here

Image = NDArray[np.uint8]
"""RGB (H, W, 3); as networks take it, (112, 112, 3)."""

DECODED = (image_header.JPEG_START + b"\xff", image_header.PNG_START)
"""What OpenCV tells its decoders of JPEG and PNG by. All its others stay out of reach of bytes that nobody vouches for:
that of JPEG 2000 writes past its memory in OpenCV 4.11 (CVE-2025-53644), and later ones need NumPy 2."""
FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
"""Orientation tags are ignored: aligned images are stored upright, and MXNet's decoder ignores them too."""


Decode = Callable[[bytes, str], Image]
"""From the bytes of an image, and its place for messages, to what a network takes."""


def decode(data: bytes, where: str, remedy: str = f"align and scale it to {IMAGE_SIZE}x{IMAGE_SIZE} first") -> Image:
    """Pixels of an encoded image; InvalidInput, naming `where`, for anything but a 112x112 image."""
    height, width = _checked_size(data, where)
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(f"{where}: the image is {width}x{height} and not {IMAGE_SIZE}x{IMAGE_SIZE}: {remedy}")
    return _decoded(data, where, (height, width))


def decode_scaled(data: bytes, where: str) -> Image:
    """Pixels (112, 112, 3) of an encoded image that is aligned, though in another size.

    As in the reference, it is scaled (bicubic, its default) until the short side has 112 pixels, and nothing is cut
    off: what is not square then is InvalidInput, naming `where`.
    """
    height, width = _checked_size(data, where)
    short = min(height, width)
    if (IMAGE_SIZE * height // short, IMAGE_SIZE * width // short) != (IMAGE_SIZE, IMAGE_SIZE):
        side = f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        raise InvalidInput(f"{where}: the image is {width}x{height}; it must be {side} or square: align it first")
    if height * width > MOST_ALIGNED_PIXELS:
        raise InvalidInput(f"{where}: the image is {width}x{height}; aligned ones are smaller: align it first")
    image = _decoded(data, where, (height, width))
    if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    scaled = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cast("Image", scaled)


def decode_any_size(data: bytes, where: str) -> Image:
    """Pixels of a JPEG or PNG; InvalidInput, naming `where`, where it is none or cannot be decoded."""
    return _decoded(data, where, _checked_size(data, where))


def _checked_size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width of an image that may be decoded; InvalidInput, naming `where`, of any other."""
    if data and not data.startswith(DECODED):
        raise InvalidInput(f"{where}: does not decode as an image: it is neither JPEG nor PNG; convert it first")
    size = image_header.stated_size(io.BytesIO(data))
    if size is None or not 0 < size[0] * size[1] <= min(MOST_PIXELS, PIXELS_PER_BYTE * len(data)):
        raise _undecodable(data, where)
    if data.startswith(image_header.JPEG_START) and image_header.has_many_scans(data):
        raise InvalidInput(f"{where}: has more than {image_header.MOST_SCANS} scans: save the image anew")
    return size


def _decoded(data: bytes, where: str, size: tuple[int, int]) -> Image:
    plain = image_header.plain_png(data) if data.startswith(image_header.PNG_START) else data
    try:
        image = None if plain is None else cv2.imdecode(np.frombuffer(plain, np.uint8), FLAGS)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != size:
        raise _undecodable(data, where)
    return cast("Image", image)


def _undecodable(data: bytes, where: str) -> InvalidInput:
    return InvalidInput(
        f"{where}: does not decode as an image of at most {MOST_PIXELS} pixels (it has {len(data)} bytes)"
    )


def encode_png(image: Image) -> bytes:
    """An image without loss."""
    encoded: bytes = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    return encoded


TEMPLATE: NDArray[np.float64] = np.array(LANDMARKS)


def similarity_transforms(points_N52: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (N, 2, 3) that take points (x, y) of an image to the template.

    NaN where the five points are one, which says nothing about scale and turn.
    """
    points, targets = _complex(points_N52), _complex(TEMPLATE)
    point_mean, target_mean = points.mean(axis=1, keepdims=True), targets.mean()
    centred = points - point_mean
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = (centred.conj() * (targets - target_mean)).sum(axis=1) / (np.abs(centred) ** 2).sum(axis=1)
    shift = target_mean - turn * point_mean[:, 0]
    rows = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    return np.moveaxis(np.array(rows), 2, 0)


def align(image: NDArray[np.uint8], matrix_23: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image (112, 112, 3) that a network takes: bilinear, black where there is nothing."""
    warped = cv2.warpAffine(image, matrix_23, (IMAGE_SIZE, IMAGE_SIZE), flags=cv2.INTER_LINEAR)
    return cast("NDArray[np.uint8]", warped)


OUTSIDE = 0.25
"""Share of an image's side by which a landmark may lie outside: crops cut through faces, not past them."""


def check_landmarks(shape: tuple[int, ...], points_52: NDArray[np.float64], where: str, place: str) -> None:
    """InvalidInput, naming `place`, where landmarks (x, y) in pixels are not in the image `where`, (height, width)."""
    sides = np.array([shape[1], shape[0]])
    outside = np.flatnonzero(((points_52 < -OUTSIDE * sides) | (points_52 > (1 + OUTSIDE) * sides)).any(axis=1))
    if len(outside):
        x, y = points_52[outside[0]]
        raise InvalidInput(
            f"{place}: landmark ({x:g}, {y:g}) lies outside of {where}, which has {sides[0]}x{sides[1]} pixels"
        )


def align_face(image: Image, points_52: NDArray[np.float64], where: str, place: str) -> Image:
    """The image (112, 112, 3) whose landmarks lie on the template; InvalidInput where they are none of a face in it."""
    check_landmarks(image.shape, points_52, where, place)
    (matrix,) = similarity_transforms(points_52[None])
    if not np.isfinite(matrix).all():
        raise InvalidInput(f"{place}: all landmarks are one point; correct them")
    return align(image, matrix)


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex128)
