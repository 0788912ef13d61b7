"""Training images in a folder with one subfolder per identity."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.labels import kept

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


@dataclass(frozen=True, slots=True)
class FolderFaces:
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
        for number, identity in enumerate(identity_folders(directory)):
            images = images_in(identity)
            paths += images
            raw_labels += [number] * len(images)
        if not paths:
            raise InvalidInput(
                f"{directory}: neither train.rec nor subfolders with images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        is_kept, labels, dropped = kept(np.array(raw_labels, np.int64), min_images, directory)
        chosen = [paths[index] for index in np.flatnonzero(is_kept)]
        return cls(chosen, labels, int(labels.max()) + 1, dropped)

    def encoded(self, index: int) -> bytes:
        """Bytes of the image's file."""
        try:
            return Path(self.paths[index]).read_bytes()
        except OSError as error:
            raise InvalidInput(
                f"{self.paths[index]}: cannot be read ({error.strerror}): copy it again or give this user the right to "
                "read it"
            ) from error

    def where(self, index: int) -> str:
        """Path of the image's file."""
        return self.paths[index]


def identity_folders(directory: Path) -> list[Path]:
    """Subfolders in the order of their names, hidden ones left out."""
    with os.scandir(directory) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def images_in(folder: Path) -> list[str]:
    """Image files of one identity in the order of their names."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.path
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - millions of entries
        )
