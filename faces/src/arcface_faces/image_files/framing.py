"""From an image as it is stored to the 112x112 pixels that a network takes, in one of the ways that a user may ask for.

Nothing is guessed: an image of another size may be a photograph with the face somewhere in it, and embeddings of those
look like others. Landmarks are listed as detectors write them: `image x1 y1 ... x5 y5`, a score behind them or none.
They are eyes, nose and corners of the mouth, the eye and the corner on the left side of the image first.
"""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces import delimited, images
from arcface_faces.image_files import suffixes
from arcface_faces.image_files.detector import FaceDetector, open_detector

REMEDY = "align it with --landmarks or --detector, or give --resize where it is aligned"

NUMBERS = 10
"""x and y of five points."""
EXPECTED = "a line is 'image x1 y1 ... x5 y5', with a score behind it or without"


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
class LandmarkList:
    """Five points for each image of a list."""

    path: Path
    rows: dict[str, int]
    """Row by name; names without suffix stand for all that they may belong to."""
    points: NDArray[np.float64]
    """(N, 5, 2) x and y in pixels."""
    lines: NDArray[np.int64]
    """(N,) where each stands."""

    def of(self, name: str) -> tuple[NDArray[np.float64], str]:
        """Points (5, 2) of an image, and their place for messages; InvalidInput where the list has none."""
        row = self.rows.get(name, self.rows.get(str(PurePath(name).with_suffix(""))))
        if row is None:
            raise InvalidInput(f"{self.path}: has no landmarks of {name}: add a line for it")
        return self.points[row], f"{self.path} line {self.lines[row]}"


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


def read_landmarks(path: Path) -> LandmarkList:
    """Read a list, whatever separates its fields, with a heading or without.

    Raises:
        InvalidInput: naming the first line that has no landmarks, or those of an image that has some already.
    """
    rows: dict[str, int] = {}
    points: list[list[float]] = []
    lines: list[int] = []
    for number, row in enumerate(delimited.rows(path, delimited.read_lines(path, "correct --landmarks"), _fits)):
        if number == 0 and _is_heading(row.fields):
            continue
        found = _numbers(row.fields)
        if found is None:
            raise InvalidInput(f"{path} line {row.line}: {row.shown()}; {EXPECTED}")
        name = str(PurePath(row.fields[0]))
        if name in rows:
            raise InvalidInput(f"{path} line {row.line}: {name} has landmarks in line {lines[rows[name]]} already")
        rows[name] = len(points)
        points.append(found)
        lines.append(row.line)
    if not points:
        raise InvalidInput(f"{path}: holds no landmarks; {EXPECTED}")
    return LandmarkList(path, rows, np.array(points).reshape(-1, 5, 2), np.array(lines))


def _fits(fields: list[str]) -> bool:
    return len(fields) in {1 + NUMBERS, 2 + NUMBERS}


def _is_heading(fields: list[str]) -> bool:
    names_an_image = suffixes.is_image(PurePath(fields[0]).suffix)
    return _fits(fields) and not names_an_image and delimited.is_heading(fields)


def _numbers(fields: list[str]) -> list[float] | None:
    """The ten numbers; None where a line holds something else."""
    if not _fits(fields):
        return None
    if not all(map(delimited.NUMBER.fullmatch, fields[1:])):
        return None
    numbers = [float(field) for field in fields[1:]]
    return numbers[:NUMBERS] if np.isfinite(numbers).all() else None
