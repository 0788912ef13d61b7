"""A list of aligned images with who they show, for comparing all with all: a CSV file `image,label[,group]`.

A line is an image, named as its file below the folder of images; labels and groups are any words. A first line that
begins with `image,label`, or `image,identity` as `arcface embed` writes it, is a heading. Encodings and separators
are those of `delimited`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained, printable
from arcface_evaluator.protocols import all_pairs
from arcface_evaluator.sets import release_images
from arcface_faces import delimited, image_header, images as faces, positioned_file
from arcface_faces.image_files import tree

HEADINGS = (["image", "label"], ["image", "identity"])
WIDTHS = {2, 3}
"""Fields of a line, without and with a group."""
REMEDY = "a line is 'image,label' or 'image,label,group'"


@dataclass(frozen=True, slots=True)
class LabelledList:
    """An opened list."""

    path: Path
    """Its file."""
    name: str
    """The file's, without its suffix."""
    images: list[str]
    """(N,) files below the folder of images."""
    labels: NDArray[np.int64]
    """(N,) who each shows, counted from 0 in the order of the words."""
    groups: dict[str, NDArray[np.int64]]
    """Images of each group; none where the list has no groups."""


@dataclass(frozen=True)  # without slots, for the hash that is made once
class ListedImages:
    """The images of a list in its order, aligned already."""

    name: str
    """The list's."""
    below: tree.ImageTree
    """Where they are."""
    files: list[str]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    @property
    def folder(self) -> Path:
        """With all images."""
        return self.below.folder

    @cached_property
    def sha256(self) -> str:
        """Hash of all images."""
        return release_images.hash_images(self.name, self.folder, self.files)

    def image(self, number: int, /) -> faces.Image:
        """One of them; InvalidInput where it is none of 112x112, or not below the folder."""
        with self._opened(number) as file:
            content = file.read()
        return faces.decode(content, str(self.folder / self.files[number]))

    def check(self) -> None:
        """Look at the first bytes of all images before any is embedded; InvalidInput names the first that is wrong."""
        release_images.check_all(self.name, len(self), self._check_image)

    def _check_image(self, number: int) -> None:
        with self._opened(number) as file:
            stated = image_header.stated_size(file)
        if stated != (faces.IMAGE_SIZE, faces.IMAGE_SIZE):
            self.image(number)  # tells what is wrong

    @contextmanager
    def _opened(self, number: int) -> Iterator[BinaryIO]:
        """The file of an image, if it is below the folder; a link may lead elsewhere where that is allowed."""
        name = Path(self.files[number])
        path = self.folder / name
        with explained(path, "cannot be read", "correct the list or --images"):
            if name.is_absolute() or ".." in name.parts:
                raise InvalidInput(f"{path}: lies outside of {self.folder}: copy it there and correct the list")
            self.below.check_place(path, str(path))
            with positioned_file.open_regular(path) as file:
                yield file


def read_labelled_list(path: Path) -> LabelledList:
    """Read and check a list.

    Raises:
        InvalidInput: naming the first line that is not like the others, or an image that comes twice; where all
            images are of one person, or no two are.
    """
    rows = _rows(path)
    lines: dict[str, int] = {}
    for row in rows:
        image = row.fields[0]
        if lines.setdefault(image, row.line) != row.line:
            raise InvalidInput(f"{path} line {row.line}: {image} came in line {lines[image]}; list each image once")
    labels = np.unique([row.fields[1] for row in rows], return_inverse=True)[1]
    if (fault := all_pairs.count_pairs(labels).fault) is not None:
        raise InvalidInput(f"{path}: {fault}")
    words = [group for row in rows for group in row.fields[2:]]
    return LabelledList(path, printable(path.stem), list(lines), labels, _groups(words))


def _rows(path: Path) -> list[delimited.Row]:
    """The lines with an image; all have as many fields."""
    rows = list(delimited.rows(path, delimited.read_lines(path, "correct --list"), _fits))
    if rows and [name.lower() for name in rows[0].fields[:2]] in HEADINGS:
        rows = rows[1:]
    if not rows:
        raise InvalidInput(f"{path}: names no image; {REMEDY}")
    for row in rows:
        if not _fits(row.fields) or len(row.fields) != len(rows[0].fields) or "\0" in row.fields[0]:
            raise InvalidInput(f"{path} line {row.line}: {row.shown()}; {REMEDY}, alike in all lines")
    return rows


def _fits(fields: list[str]) -> bool:
    return len(fields) in WIDTHS and all(fields)


def _groups(words: list[str]) -> dict[str, NDArray[np.int64]]:
    names, places = np.unique(words, return_inverse=True)
    return {str(name): np.flatnonzero(places == place) for place, name in enumerate(names)}
