"""Training images in folders, one for each identity."""

import hashlib
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from arcface_api.errors import InvalidInput, persistently
from arcface_faces.datasets.index import Column, DatasetIndex, IndexedDataset, fingerprint
from arcface_faces.datasets.index_store import NOWHERE, IndexStore
from arcface_faces.image_files import suffixes
from arcface_faces.positioned_file import read_regular

_Entry = tuple[str, int]
"""A name and a number."""
_NO_IMAGE = -1
"""In the place of a size."""
SAMPLED_IDENTITIES = 128
"""Whose images are looked at each time; asking millions of files for their sizes takes minutes."""
SETTLED_NS = 2_000_000_000
"""Age of a folder's time from which on a later change gives it another one, on volumes with whole seconds, too."""


@dataclass(frozen=True, slots=True)
class ImageFolderDataset(IndexedDataset):
    """Identities in the order of their folders' names, images in the order of theirs.

    The fingerprint is made of the images' names, that of the content of their sizes, too, as they were when the index
    was made: earlier releases, whose trainings go on with this one, knew no sizes. The index is made anew where
    the time of an identity's folder has changed, which it does when files come, go or are renamed (an `mv` or `rsync`
    over an old one, too), or the size of an image of the identities that are looked at each time. Not seen is an image
    of another identity that was written over in its place later, and one of the same name and size.
    """

    directory: Path

    @classmethod
    def open(cls, directory: Path, min_images: int, store: IndexStore = NOWHERE) -> Self:
        """Map the index, or list the images; InvalidInput where there are none."""
        folders = _identity_folders(directory)
        made_from = _made_from(directory, folders)
        if made_from is None:
            return cls(_make_index(directory, folders, min_images), directory)
        return cls(store.load(made_from, lambda: _make_index(directory, folders, min_images)), directory)

    @property
    def fingerprint(self) -> str:
        """What tells this set from another, by the names of its images."""
        return fingerprint("folder", self.index.columns.values())

    def image_bytes(self, index: int) -> bytes:
        """Bytes of the image's file."""
        path = self.where(index)
        return persistently(
            lambda: read_regular(path), path, "cannot be read", "copy it again or give this user the right to read it"
        )

    def read_ahead(self, start: int, stop: int) -> None:
        """Nothing: files of their own do not lie one behind the other."""

    def where(self, index: int) -> str:
        """Path of the image's file."""
        folder = _name(self.index, "folder", int(self.labels[index]))
        return os.path.join(self.directory, folder, _name(self.index, "image", index))  # noqa: PTH118 - millions


def _name(index: DatasetIndex, kind: str, number: int) -> str:
    """One of the names that stand one behind the other in a column, their ends in another."""
    ends = index.columns[f"{kind}_ends"]
    start = int(ends[number - 1]) if number else 0
    return os.fsdecode(index.columns[f"{kind}_names"][start : ends[number]].tobytes())


def _sorted_entries(folder: Path | str, choose: Callable[[os.DirEntry[str]], _Entry | None]) -> list[_Entry]:
    """What `choose` makes of the entries of a folder, in its order."""

    def read() -> list[_Entry]:
        with os.scandir(folder) as entries:
            return sorted(chosen for entry in entries if (chosen := choose(entry)) is not None)

    return persistently(read, folder, "cannot be listed", "correct the path or give this user the right to read it")


def _identity_folders(directory: Path) -> list[_Entry]:
    """Names of the subfolders, in their order and hidden ones left out, with the times of their last change in ns."""

    def choose(entry: os.DirEntry[str]) -> _Entry | None:
        is_identity = entry.is_dir() and not entry.name.startswith(".")
        return (entry.name, entry.stat().st_mtime_ns) if is_identity else None

    return _sorted_entries(directory, choose)


def _made_from(directory: Path, folders: list[_Entry]) -> str | None:
    """Hash of names and times, and of the images of some identities, evenly spread, with their sizes.

    None where a folder was changed just now and may change again at the same time.
    """
    if not folders or max(changed for _, changed in folders) > time.time_ns() - SETTLED_NS:
        return None
    digest = hashlib.sha256(" ".join(suffixes.SUFFIXES).encode())
    for name, changed in folders:
        digest.update(os.fsencode(name) + f"\0{changed}\0".encode())
    for name, _ in folders[:: -(-len(folders) // SAMPLED_IDENTITIES)]:
        for image, size in _images_in(os.path.join(directory, name), Counter()):  # noqa: PTH118 - millions
            digest.update(os.fsencode(image) + f"\0{size}\0".encode())
    return digest.hexdigest()


def _make_index(directory: Path, folders: list[_Entry], min_images: int) -> DatasetIndex:
    """List all images, and tell of files that are left out."""
    folder_names, image_names, others = _Names(), _Names(), Counter[str]()
    sizes, counts = array("q"), array("q")
    found = dropped = 0
    for name, _ in folders:
        images = _images_in(os.path.join(directory, name), others)  # noqa: PTH118 - millions
        found += len(images)
        if len(images) < min_images:
            dropped += bool(images)
            continue
        folder_names.extend([name])
        image_names.extend([image for image, _ in images])
        sizes.extend(size for _, size in images)
        counts.append(len(images))
    if not counts:
        raise _nothing(directory, found, min_images, others)
    suffixes.warn_of_others(directory, others)
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    columns: dict[str, Column] = {"labels": labels, **folder_names.columns("folder"), **image_names.columns("image")}
    told_by = fingerprint("folder", [*columns.values(), np.frombuffer(sizes, "<i8")])
    return DatasetIndex(columns, len(counts), dropped, told_by)


def _nothing(directory: Path, found: int, min_images: int, others: Counter[str]) -> InvalidInput:
    if found:
        return InvalidInput(f"{directory}: no identity has {min_images} images: lower data.minImagesPerIdentity")
    told = suffixes.others_told(others)
    return InvalidInput(f"{directory}: neither train.rec nor subfolders with images ({told})")


class _Names:
    """Many names in little memory: a list of them takes 0.7 GB for MS1MV2."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q")

    def extend(self, names: list[str]) -> None:
        for name in names:
            self._text += os.fsencode(name)
            self._ends.append(len(self._text))

    def columns(self, kind: str) -> dict[str, Column]:
        """Text and ends, for `_name`."""
        return {f"{kind}_names": np.frombuffer(self._text, np.uint8), f"{kind}_ends": np.frombuffer(self._ends, "<i8")}


def _images_in(folder: str, others: Counter[str]) -> list[_Entry]:
    """Names of the image files of one identity, in their order, with their sizes in bytes.

    Hidden files, as macOS leaves them, are left out; other files are counted by the ends of their names. InvalidInput
    where an image is a link to nowhere.
    """

    def choose(entry: os.DirEntry[str]) -> _Entry | None:
        if entry.name.startswith("."):
            return None
        if entry.is_dir():
            return None
        if not suffixes.is_image(_suffix(entry.name)):
            return entry.name, _NO_IMAGE
        try:
            return entry.name, entry.stat().st_size
        except FileNotFoundError:
            remedy = "copy the image there or remove the link"
            raise InvalidInput(f"{entry.path}: is a link to nowhere: {remedy}") from None

    files = _sorted_entries(folder, choose)
    others.update(_suffix(name).lower() for name, size in files if size == _NO_IMAGE)
    return [(name, size) for name, size in files if size != _NO_IMAGE]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1]  # noqa: PTH122 - millions of names
