"""Training images in folders, one for each identity."""

import hashlib
import os
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, persistently
from arcface_faces.datasets.index import Column, DatasetIndex, fingerprint
from arcface_faces.datasets.index_store import NOWHERE, IndexStore

T = TypeVar("T", str, tuple[str, int])
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SETTLED_NS = 2_000_000_000
"""Age of a folder's time from which on a later change gives it another one, on volumes with whole seconds, too."""


@dataclass(frozen=True, slots=True)
class ImageFolderDataset:
    """Identities in the order of their folders' names, images in the order of theirs."""

    directory: Path
    index: DatasetIndex

    @classmethod
    def open(cls, directory: Path, min_images: int, store: IndexStore = NOWHERE) -> Self:
        """Map the index, or list the images; InvalidInput where there are none."""
        folders = _identity_folders(directory)
        made_from = _made_from(folders)
        if made_from is None:
            return cls(directory, _make_index(directory, folders, min_images))
        return cls(directory, store.load(made_from, lambda: _make_index(directory, folders, min_images)))

    @property
    def labels(self) -> NDArray[np.int32]:
        """Identity of each image, (N,)."""
        return self.index.columns["labels"]

    @property
    def class_count(self) -> int:
        """Identities that are kept."""
        return self.index.class_count

    @property
    def dropped_identities(self) -> int:
        """Identities left out since they have too few images."""
        return self.index.dropped_identities

    @property
    def fingerprint(self) -> str:
        """What tells this set from another; of the files' sizes it knows nothing, which millions of calls would ask."""
        return self.index.fingerprint

    def image_bytes(self, index: int) -> bytes:
        """Bytes of the image's file."""
        path = self.where(index)
        return persistently(
            Path(path).read_bytes, path, "cannot be read", "copy it again or give this user the right to read it"
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


def _sorted_entries(folder: Path | str, choose: Callable[[os.DirEntry[str]], T | None]) -> list[T]:
    """What `choose` makes of the entries of a folder, in its order."""

    def read() -> list[T]:
        with os.scandir(folder) as entries:
            return sorted(chosen for entry in entries if (chosen := choose(entry)) is not None)

    return persistently(read, folder, "cannot be listed", "correct the path or give this user the right to read it")


def _identity_folders(directory: Path) -> list[tuple[str, int]]:
    """Names of the subfolders, in their order and hidden ones left out, with the times of their last change in ns."""

    def choose(entry: os.DirEntry[str]) -> tuple[str, int] | None:
        is_identity = entry.is_dir() and not entry.name.startswith(".")
        return (entry.name, entry.stat().st_mtime_ns) if is_identity else None

    return _sorted_entries(directory, choose)


def _made_from(folders: list[tuple[str, int]]) -> str | None:
    """Hash of names and times; None where one was changed just now and may change again at the same time."""
    if not folders or max(changed for _, changed in folders) > time.time_ns() - SETTLED_NS:
        return None
    digest = hashlib.sha256()
    for name, changed in folders:
        digest.update(os.fsencode(name) + f"\0{changed}\0".encode())
    return digest.hexdigest()


def _make_index(directory: Path, folders: list[tuple[str, int]], min_images: int) -> DatasetIndex:
    """List all images."""
    folder_names, image_names = _Names(), _Names()
    counts: list[int] = []
    found = dropped = 0
    for name, _ in folders:
        images = _images_in(os.path.join(directory, name))  # noqa: PTH118 - millions
        found += len(images)
        if len(images) < min_images:
            dropped += bool(images)
            continue
        folder_names.extend([name])
        image_names.extend(images)
        counts.append(len(images))
    if not counts:
        raise _nothing(directory, found, min_images)
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    columns: dict[str, Column] = {"labels": labels, **folder_names.columns("folder"), **image_names.columns("image")}
    return DatasetIndex(columns, len(counts), dropped, fingerprint("folder", columns.values()))


def _nothing(directory: Path, found: int, min_images: int) -> InvalidInput:
    if found:
        return InvalidInput(f"{directory}: no identity has {min_images} images: lower data.minImagesPerIdentity")
    return InvalidInput(
        f"{directory}: neither train.rec nor subfolders with images ({', '.join(sorted(IMAGE_SUFFIXES))})"
    )


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


def _images_in(folder: str) -> list[str]:
    """Names of the image files of one identity, in their order and hidden ones, as macOS leaves them, left out."""

    def choose(entry: os.DirEntry[str]) -> str | None:
        suffix = os.path.splitext(entry.name)[1]  # noqa: PTH122 - millions of entries
        is_image = suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
        return entry.name if is_image else None

    return _sorted_entries(folder, choose)
