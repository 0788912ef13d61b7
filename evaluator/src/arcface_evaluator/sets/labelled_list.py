"""A list of aligned images with who they show, for comparing all with all: a CSV file `image,label[,group]`.

A line is an image, named as its file below the folder of images; labels and groups are any words. A first line that
begins with `image,label` is a heading.
"""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.sets.release_images import hash_images
from arcface_faces.images import Image, decode

HEADING = ["image", "label"]
REMEDY = "a line is 'image,label' or 'image,label,group'"


@dataclass(frozen=True, slots=True)
class LabelledList:
    """An opened list."""

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
    folder: Path
    files: list[str]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    @cached_property
    def sha256(self) -> str:
        """Hash of all images."""
        return hash_images(self.name, self.folder, self.files)

    def image(self, number: int, /) -> Image:
        """One of them; InvalidInput where it is none of 112x112."""
        path = self.folder / self.files[number]
        with explained(path, "cannot be read", "correct the list or --images"):
            content = path.read_bytes()
        return decode(content, str(path))


def read_labelled_list(path: Path) -> LabelledList:
    """Read and check a list.

    Raises:
        InvalidInput: naming the first line that is not like the others, or an image that comes twice.
    """
    rows = _rows(path)
    lines: dict[str, int] = {}
    for number, (image, *_) in rows:
        if lines.setdefault(image, number) != number:
            raise InvalidInput(f"{path} line {number}: {image} came in line {lines[image]}; list each image once")
    labels = np.unique([row[1] for _, row in rows], return_inverse=True)[1]
    return LabelledList(path.stem, list(lines), labels, _groups([row[2] for _, row in rows if len(row) == 3]))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Fields of each line, with its number; all have as many."""
    with explained(path, "cannot be read", "correct --list"):
        try:
            reader = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
            rows = [(number, [field.strip() for field in row]) for number, row in enumerate(reader, start=1) if row]
        except (UnicodeDecodeError, csv.Error):
            raise InvalidInput(f"{path}: is no CSV text; {REMEDY}") from None
    if rows and rows[0][1][:2] == HEADING:
        rows = rows[1:]
    if not rows:
        raise InvalidInput(f"{path}: names no image; {REMEDY}")
    for number, row in rows:
        if len(row) not in {2, 3} or not all(row) or len(row) != len(rows[0][1]) or "\0" in row[0]:
            raise InvalidInput(f"{path} line {number}: {','.join(row)[:80]!r}; {REMEDY}, alike in all lines")
    return rows


def _groups(words: list[str]) -> dict[str, NDArray[np.int64]]:
    names, places = np.unique(words, return_inverse=True)
    return {str(name): np.flatnonzero(places == place) for place, name in enumerate(names)}
