"""The training images of a job, whatever they are stored in: records, or a folder with one subfolder per identity."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.datasets import image_folder, index_store, record_dataset
from arcface_faces.records import files


class FaceDataset(Protocol):
    """Encoded images with identities numbered 0 to class_count - 1 without gaps."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Identity of each image, (N,)."""

    @property
    def class_count(self) -> int:
        """Identities that are kept."""

    @property
    def dropped_identities(self) -> int:
        """Identities left out since they have too few images."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what tells this set from another, by what all releases know of it."""

    @property
    def content_fingerprint(self) -> str:
        """The same by all that this release knows."""

    def image_bytes(self, index: int) -> bytes:
        """Stored bytes of an image (JPEG or PNG)."""

    def read_ahead(self, start: int, stop: int) -> None:
        """Have the system read images `start` to `stop` - 1, where that spares anything."""

    def where(self, index: int) -> str:
        """Place of an image, for messages."""


def open_dataset(directory: Path, min_images: int = 1, beside: Path | None = None) -> FaceDataset:
    """Open `train.rec` with its index, or an image folder with one subfolder per identity.

    Args:
        directory: the folder.
        min_images: identities with fewer images are left out.
        beside: a folder that may keep the index where `directory` is read-only.

    Raises:
        InvalidInput: naming file and place where the data are missing or damaged.
    """
    with explained(directory, "cannot be read", "correct the path or give this user the right to read it"):
        is_folder, has_records = directory.is_dir(), (directory / files.RECORDS_FILE).exists()
    if not is_folder:
        raise InvalidInput(
            f"{directory}: no such folder: give the folder with {files.RECORDS_FILE} or with image folders"
        )
    store = index_store.IndexStore.of(directory, min_images, beside)
    if has_records:
        return record_dataset.RecordDataset.open(directory, min_images, store)
    return image_folder.ImageFolderDataset.open(directory, min_images, store)
