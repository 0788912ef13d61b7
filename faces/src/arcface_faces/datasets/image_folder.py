"""Training images in a folder with one subfolder per identity."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api import os_errors
from arcface_api.errors import InvalidInput
from arcface_faces.datasets.labels import select_identities

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


@dataclass(frozen=True, slots=True)
class ImageFolderDataset:
    """Identities in the order of their folders' names, images in the order of theirs."""

    paths: list[str]
    labels: NDArray[np.int64]
    class_count: int
    dropped_identities: int

    @classmethod
    def open(cls, directory: Path, min_images: int) -> Self:
        """List the images; InvalidInput where there are none."""
        paths: list[str] = []
        raw_labels: list[int] = []
        for number, identity in enumerate(_identity_folders(directory)):
            images = _images_in(identity)
            paths += images
            raw_labels += [number] * len(images)
        if not paths:
            raise InvalidInput(
                f"{directory}: neither train.rec nor subfolders with images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        is_kept, labels, dropped = select_identities(np.array(raw_labels, np.int64), min_images, directory)
        chosen = [paths[index] for index in np.flatnonzero(is_kept)]
        return cls(chosen, labels, int(labels.max()) + 1, dropped)

    def encoded(self, index: int) -> bytes:
        """Bytes of the image's file."""
        path = self.paths[index]
        with os_errors.explained(path, "cannot be read", "copy it again or give this user the right to read it"):
            return Path(path).read_bytes()

    def where(self, index: int) -> str:
        """Path of the image's file."""
        return self.paths[index]


@contextmanager
def _listing(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Entries of a folder, which are read inside of this context."""
    remedy = "correct the path or give this user the right to read it"
    with os_errors.explained(folder, "cannot be listed", remedy), os.scandir(folder) as entries:
        yield entries


def _identity_folders(directory: Path) -> list[Path]:
    """Subfolders in the order of their names, hidden ones left out."""
    with _listing(directory) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images_in(folder: Path) -> list[str]:
    """Image files of one identity in the order of their names."""
    with _listing(folder) as entries:
        return sorted(
            entry.path
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - millions of entries
        )
