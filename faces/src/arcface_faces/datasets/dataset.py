"""The training images of a job, whatever they are stored in."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api import os_errors
from arcface_api.errors import InvalidInput
from arcface_faces.datasets.image_folder import ImageFolderDataset
from arcface_faces.datasets.record_dataset import RecordDataset
from arcface_faces.records.layout import RECORDS_FILE


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

    def encoded(self, index: int) -> bytes:
        """Stored bytes of an image (JPEG or PNG)."""

    def where(self, index: int) -> str:
        """Place of an image, for messages."""


def open_dataset(directory: Path, min_images: int = 1) -> FaceDataset:
    """Open `train.rec` with its index, or an image folder with one subfolder per identity.

    Args:
        directory: the folder.
        min_images: identities with fewer images are left out.

    Raises:
        InvalidInput: naming file and place where the data are missing or damaged.
    """
    with os_errors.explained(directory, "cannot be read", "correct the path or give this user the right to read it"):
        is_folder, has_records = directory.is_dir(), (directory / RECORDS_FILE).exists()
    if not is_folder:
        raise InvalidInput(f"{directory}: no such folder: give the folder with {RECORDS_FILE} or with image folders")
    if has_records:
        return RecordDataset.open(directory, min_images)
    return ImageFolderDataset.open(directory, min_images)
