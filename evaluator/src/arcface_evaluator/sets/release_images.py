"""The images of an IJB release, aligned by their landmarks one by one as they are asked for."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.sets.release import IjbRelease
from arcface_faces.images.alignment import align, similarity_transforms
from arcface_faces.images.decoding import Image, decode_any_size

FOLDER = "loose_crop"
OUTSIDE = 0.25
"""Share of an image's side by which a landmark may lie outside: the release cuts through faces, not past them."""


@dataclass(frozen=True, slots=True)
class ReleaseImages:
    """The images in the order of the release's files."""

    name: str
    """The release's."""
    folder: Path
    """Folder with all images."""
    files: list[str]
    """(N,) names below the folder."""
    marks_file: Path
    """Where the landmarks come from."""
    points: NDArray[np.float64]
    """(N, 5, 2) landmarks in pixels."""
    matrices: NDArray[np.float64]
    """(N, 2, 3), to the aligned images."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def path(self, number: int) -> Path:
        """File of an image."""
        return self.folder / self.files[number]

    def image_bytes(self, number: int) -> bytes:
        """An image as it is on disk."""
        with explained(self.path(number), "cannot be read", "take it from the release"):
            return self.path(number).read_bytes()

    def image(self, number: int) -> Image:
        """An image as the network takes it; InvalidInput where it is none, or its landmarks are not in it."""
        pixels = decode_any_size(self.image_bytes(number), str(self.path(number)))
        height, width = pixels.shape[:2]
        room = OUTSIDE * np.array([width, height])
        points = self.points[number]
        outside = np.flatnonzero(((points < -room) | (points > np.array([width, height]) + room)).any(axis=1))
        if len(outside):
            x, y = points[outside[0]]
            raise InvalidInput(
                f"{self.marks_file} line {number + 1}: landmark ({x:g}, {y:g}) lies outside of "
                f"{self.files[number]}, which has {width}x{height} pixels"
            )
        return align(pixels, self.matrices[number])


def open_images(opened: IjbRelease) -> ReleaseImages:
    """Check that every image is there and can be aligned, before the first is embedded."""
    folder = opened.folder / FOLDER
    with explained(folder, "cannot be read", "it holds the release's images"), os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    for number, name in enumerate(opened.images, start=1):
        if name not in present:  # nor is a name that leads out of the folder
            raise InvalidInput(f"{folder / name}: is missing, line {number} of {opened.marks_file} names it")
    matrices = similarity_transforms(opened.points)
    wrong = np.flatnonzero(~np.isfinite(matrices).all(axis=(1, 2)))
    if len(wrong):
        raise InvalidInput(f"{opened.marks_file} line {wrong[0] + 1}: all landmarks are one point; correct them")
    return ReleaseImages(opened.name, folder, opened.images, opened.marks_file, opened.points, matrices)
