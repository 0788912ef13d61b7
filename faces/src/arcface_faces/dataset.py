"""The training images of a job, whatever they are stored in."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.image_folder import FolderFaces
from arcface_faces.records.dataset import RECORDS_FILE, RecordFaces


class FaceSet(Protocol):
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


def open_faces(directory: Path, min_images: int = 1) -> FaceSet:
    """Open `train.rec` with its index, or an image folder with one subfolder per identity.

    Args:
        directory: the folder.
        min_images: identities with fewer images are left out.

    Raises:
        InvalidInput: naming file and place where the data are missing or damaged.
    """
    if not directory.is_dir():
        raise InvalidInput(f"{directory}: no such folder: give the folder with {RECORDS_FILE} or with image folders")
    if (directory / RECORDS_FILE).exists():
        return RecordFaces.open(directory, min_images)
    return FolderFaces.open(directory, min_images)
