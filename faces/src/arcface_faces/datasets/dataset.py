"""The training images of a job, whatever they are stored in: records, or a folder with one subfolder per identity."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.datasets.record_dataset import RecordDataset, select_identities
from arcface_faces.records.layout import RECORDS_FILE

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class FaceDataset(Protocol):
    """Encoded images with identities numbered 0 to class_count - 1 without gaps."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Identity of each image, (N,)."""

    @property
    def class_count(self) -> int:
        """Identities that are kept."""

    @property
    def dropped_identities(self) -> int:
        """Identities left out since they have too few images."""

    def image_bytes(self, index: int) -> bytes:
        """Stored bytes of an image (JPEG or PNG)."""

    def where(self, index: int) -> str:
        """Place of an image, for messages."""


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

    def image_bytes(self, index: int) -> bytes:
        """Bytes of the image's file."""
        path = self.paths[index]
        with explained(path, "cannot be read", "copy it again or give this user the right to read it"):
            return Path(path).read_bytes()

    def where(self, index: int) -> str:
        """Path of the image's file."""
        return self.paths[index]


def open_dataset(directory: Path, min_images: int = 1) -> FaceDataset:
    """Open `train.rec` with its index, or an image folder with one subfolder per identity.

    Args:
        directory: the folder.
        min_images: identities with fewer images are left out.

    Raises:
        InvalidInput: naming file and place where the data are missing or damaged.
    """
    with explained(directory, "cannot be read", "correct the path or give this user the right to read it"):
        is_folder, has_records = directory.is_dir(), (directory / RECORDS_FILE).exists()
    if not is_folder:
        raise InvalidInput(f"{directory}: no such folder: give the folder with {RECORDS_FILE} or with image folders")
    if has_records:
        return RecordDataset.open(directory, min_images)
    return ImageFolderDataset.open(directory, min_images)


@contextmanager
def _listing(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Entries of a folder, which are read inside of this context."""
    remedy = "correct the path or give this user the right to read it"
    with explained(folder, "cannot be listed", remedy), os.scandir(folder) as entries:
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
