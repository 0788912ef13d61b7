"""From an image as it is stored to the 112x112 pixels that a network takes, in one of the ways that a user may ask for.

Nothing is guessed: an image of another size may be a photograph with the face somewhere in it, and embeddings of those
look like others.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arcface_api.errors import InvalidInput
from arcface_faces import images
from arcface_faces.image_files.detector import FaceDetector, open_detector
from arcface_faces.image_files.landmarks import LandmarkList, read_landmarks

REMEDY = "align it with --landmarks or --detector, or give --resize where it is aligned"


class Framing(Protocol):
    """A way to make an image what a network takes; it crosses to other processes."""

    def __call__(self, data: bytes, name: str, where: str, /) -> images.Image:
        """The image (112, 112, 3); InvalidInput, naming `where`, where it cannot be."""


class Aligned:
    """Images are 112x112."""

    def __call__(self, data: bytes, _name: str, where: str, /) -> images.Image:
        """The image as it is."""
        return images.decode(data, where, REMEDY)


class Resized:
    """Images are aligned and square, in another size."""

    def __call__(self, data: bytes, _name: str, where: str, /) -> images.Image:
        """The image, scaled."""
        return images.decode_scaled(data, where)


@dataclass(frozen=True, slots=True)
class ByLandmarks:
    """Images are aligned by the points of a list."""

    listed: LandmarkList

    def __call__(self, data: bytes, name: str, where: str, /) -> images.Image:
        """The image, aligned."""
        points_52, place = self.listed.of(name)
        return images.align_face(images.decode_any_size(data, where), points_52, where, place)


@dataclass(frozen=True, slots=True)
class ByDetector:
    """Images are aligned by the points that a detector finds."""

    detector: FaceDetector

    def __call__(self, data: bytes, _name: str, where: str, /) -> images.Image:
        """The image, aligned."""
        pixels = images.decode_any_size(data, where)
        return images.align_face(pixels, self.detector.landmarks(pixels, where), where, str(self.detector.path))


def choose_framing(landmarks: Path | None, detector: Path | None, *, resize: bool) -> Framing:
    """The way that is asked for; InvalidInput where several are, or their files are wrong."""
    if (landmarks is not None) + (detector is not None) + resize > 1:
        raise InvalidInput("give one of --landmarks, --detector and --resize: each makes images 112x112 by itself")
    if landmarks is not None:
        return ByLandmarks(read_landmarks(landmarks))
    if detector is not None:
        return ByDetector(open_detector(detector))
    return Resized() if resize else Aligned()
