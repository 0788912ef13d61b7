"""The images of an IJB release, aligned as they are read."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.sets.release import IMAGES_FOLDER, TemplateSet
from arcface_faces import image_header, images as faces, positioned_file
from arcface_faces.embedding import embedder
from arcface_faces.image_files import tree
from arcface_faces.progress import progress_bar


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where the landmarks of images lie and are to lie."""

    marks_file: Path
    """Where the landmarks come from."""
    points: NDArray[np.float64]
    """(N, 5, 2) landmarks in pixels."""
    matrices: NDArray[np.float64]
    """(N, 2, 3), to the aligned images."""

    def check(self, number: int, name: str, shape: tuple[int, ...]) -> None:
        """InvalidInput where the landmarks of an image of this height and width are not in it."""
        faces.check_landmarks(shape, self.points[number], name, f"{self.marks_file} line {number + 1}")

    def apply(self, number: int, name: str, pixels: faces.Image) -> faces.Image:
        """An image, aligned; InvalidInput where its landmarks are not in it."""
        self.check(number, name, pixels.shape)
        return faces.align(pixels, self.matrices[number])


@dataclass(frozen=True)  # without slots, for the hash that is made once
class ReleaseImages:
    """The images in the order of the release's files."""

    name: str
    """The release's."""
    folder: Path
    """Folder with all images."""
    files: list[str]
    """(N,) names below the folder."""
    alignment: Alignment | None
    """None where the images are aligned."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def path(self, number: int) -> Path:
        """File of an image."""
        return self.folder / self.files[number]

    def image_bytes(self, number: int) -> bytes:
        """An image as it is on disk."""
        with explained(self.path(number), "cannot be read", "take it from the release"):
            return positioned_file.read_regular(self.path(number))

    def stored_image(self, number: int) -> tuple[bytes, str]:
        """The same, and its place."""
        return self.image_bytes(number), str(self.path(number))

    def image(self, number: int) -> faces.Image:
        """An image as the network takes it; InvalidInput where it is none, or its landmarks are not in it."""
        stored = self.stored_image(number)
        if self.alignment is None:
            return faces.decode(*stored)
        return self.alignment.apply(number, self.files[number], faces.decode_any_size(*stored))

    @cached_property
    def sha256(self) -> str:
        """Hash of all images."""
        return hash_images(self.name, self.folder, self.files)

    def check_size(self, number: int) -> None:
        """InvalidInput where an image is none by its first bytes, or of a size that cannot be used."""
        path = self.path(number)
        with explained(path, "cannot be read", "take it from the release"), positioned_file.open_regular(path) as file:
            stated = image_header.stated_size(file)
        # Other kinds of images are few, and so are those that do not say: decoding tells.
        shape = faces.decode_any_size(*self.stored_image(number)).shape if stated is None else stated
        if not 0 < shape[0] * shape[1] <= faces.MOST_PIXELS:
            raise InvalidInput(f"{path}: says that it has {shape[1]}x{shape[0]} pixels: take it from the release")
        if self.alignment is not None:
            self.alignment.check(number, self.files[number], shape)
        elif shape[:2] != (faces.IMAGE_SIZE, faces.IMAGE_SIZE):
            raise InvalidInput(f"{path}: the image is {shape[1]}x{shape[0]} and not aligned: add the file of landmarks")

    def check_sizes(self) -> None:
        """Look at the first bytes of all images, as `check_size` does; InvalidInput names the first that is wrong."""
        check_all(self.name, len(self), self.check_size)


def open_images(opened: TemplateSet) -> ReleaseImages:
    """Check that every image is there and can be aligned, before the first is embedded."""
    folder = opened.folder / IMAGES_FOLDER
    with explained(folder, "cannot be read", "it holds the release's images"), os.scandir(folder) as entries:
        is_link = {entry.name: entry.is_symlink() for entry in entries}
    below = tree.ImageTree(folder, opened.links)
    listed = opened.marks_file or opened.members_file
    for number, name in enumerate(opened.images, start=1):
        if name not in is_link:  # nor is a name that leads out of the folder
            raise InvalidInput(f"{folder / name}: is missing, line {number} of {listed} names it")
        if is_link[name]:
            below.check_place(folder / name, str(folder / name))
    return ReleaseImages(opened.name, folder, opened.images, _open_alignment(opened))


def _open_alignment(opened: TemplateSet) -> Alignment | None:
    """How the images are aligned; InvalidInput where that cannot be done."""
    if opened.marks_file is None or opened.points is None:
        return None
    matrices = faces.similarity_transforms(opened.points)
    wrong = np.flatnonzero(~np.isfinite(matrices).all(axis=(1, 2)))
    if len(wrong):
        raise InvalidInput(f"{opened.marks_file} line {wrong[0] + 1}: all landmarks are one point; correct them")
    return Alignment(opened.marks_file, opened.points, matrices)


def check_all(name: str, count: int, check: Callable[[int], object]) -> None:
    """Look at the images of a set; what the check raises of the first that is wrong."""
    threads = ThreadPoolExecutor(embedder.decoding_threads(), thread_name_prefix="check")
    with threads as pool, progress_bar(f"checking {name}", count) as advance:
        for _ in pool.map(check, range(count)):
            advance(1)


def hash_images(name: str, folder: Path, files: list[str]) -> str:
    """SHA-256 of the hashes of files below a folder; ArcFaceError names the first that cannot be read."""

    def digest(file: str) -> bytes:
        with explained(folder / file, "cannot be read", "put it there or correct the list of images"):
            return hashlib.sha256(positioned_file.read_regular(folder / file)).digest()

    whole = hashlib.sha256()
    threads = ThreadPoolExecutor(embedder.decoding_threads(), thread_name_prefix="hash")
    with threads as pool, progress_bar(f"hashing {name}", len(files)) as advance:
        for each in pool.map(digest, files):
            whole.update(each)
            advance(1)
    return whole.hexdigest()
