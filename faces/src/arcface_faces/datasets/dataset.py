"""The training images of a job, whatever they are stored in: records, or a folder with one subfolder per identity.

Two layouts of records occur. In the classic one (InsightFace's faces_emore) key 0 announces two numbers a and b: images
are the keys 1 to a - 1, and each key from a to b - 1 is an identity record without an image. In the other one (im2rec)
every key is an image. The announced numbers are float32 and exact only up to 2^24; above it, `property` and the index
tell.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.records import files, recordio, table_cache
from arcface_faces.records.table import RecordTable

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


@dataclass(frozen=True, slots=True)
class RecordDataset:
    """Images in the order of their keys."""

    file: recordio.RecordFile
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    extents: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_count: int
    dropped_identities: int

    @classmethod
    def open(cls, directory: Path, min_images: int) -> Self:
        """Read the index and the heads of the records; InvalidInput where they are damaged or disagree."""
        records = directory / files.RECORDS_FILE
        announced = files.read_property(directory / files.PROPERTY_FILE)
        table = table_cache.load_records(records, directory / files.INDEX_FILE)
        rows = _image_rows(table, announced, records)
        raw_labels = _whole_labels(table, rows, announced, records)
        is_kept, labels, dropped = _select_identities(raw_labels, min_images, directory)
        rows = rows[is_kept]
        return cls(
            recordio.RecordFile(records),
            table.keys[rows],
            table.offsets[rows],
            table.extents[rows],
            labels,
            int(labels.max()) + 1,
            dropped,
        )

    def image_bytes(self, index: int) -> bytes:
        """Encoded image of a record."""
        return self.file.read(int(self.offsets[index]), int(self.extents[index]))[1]

    def where(self, index: int) -> str:
        """File and key of an image."""
        return f"{self.file.path} key {self.keys[index]}"


def _image_rows(table: RecordTable, announced: files.Property | None, records: Path) -> NDArray[np.int64]:
    """Rows of the table that hold an image; InvalidInput where one that should is empty."""
    rows = np.arange(len(table), dtype=np.int64)
    if table.keys[0] == 0 and table.flags[0] > 0 and table.image_sizes[0] == 0:
        first_identity = _first_identity_key(table, announced, records)
        _check_without_gaps(table, records)
        rows = rows[(table.keys > 0) & (table.keys < first_identity)]
    if not len(rows):
        raise InvalidInput(f"{records}: holds no image")
    empty = rows[table.image_sizes[rows] == 0]
    if len(empty):
        raise InvalidInput(f"{records}: the record of key {table.keys[empty[0]]} holds no image: write the file anew")
    return rows


def _check_without_gaps(table: RecordTable, records: Path) -> None:
    """InvalidInput where the index lacks one of the keys that key 0 announces; they are unique and sorted already."""
    missing = np.flatnonzero(table.keys != np.arange(len(table)))
    if len(missing):
        raise InvalidInput(
            f"{records.with_name(files.INDEX_FILE)}: key {missing[0]} is missing, which key 0 announces: copy "
            f"{files.RECORDS_FILE} and {files.INDEX_FILE} again, together"
        )


def _first_identity_key(table: RecordTable, announced: files.Property | None, records: Path) -> int:
    """The number `a` of the classic layout."""
    first, stop = table.labels[0].tolist()
    last_key = int(table.keys[-1])
    if last_key + 1 > files.EXACT_FLOAT32:
        if announced is None:
            raise InvalidInput(
                f"{records}: more than {files.EXACT_FLOAT32} records need the file {files.PROPERTY_FILE} beside it"
            )
        return last_key + 1 - announced.identities
    if not (first == first // 1 and 1 <= first <= last_key + 1 and stop == last_key + 1):
        raise InvalidInput(
            f"{records}: key 0 announces images up to key {first - 1:.0f} and identities up to key {stop - 1:.0f}, "
            f"but the index ends at key {last_key}: copy {files.RECORDS_FILE} and {files.INDEX_FILE} again, together"
        )
    return int(first)


def _whole_labels(
    table: RecordTable, rows: NDArray[np.int64], announced: files.Property | None, records: Path
) -> NDArray[np.int64]:
    """Labels of the images as stored; InvalidInput where one is not a whole number from 0 to 2^24."""
    labels = table.labels[rows, 0]
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= files.EXACT_FLOAT32) & (labels == np.floor(labels))))
    if len(wrong):
        raise InvalidInput(
            f"{records}: key {table.keys[rows[wrong[0]]]} has label {labels[wrong[0]]}, not a whole number from 0 to "
            f"{files.EXACT_FLOAT32}: write the file anew"
        )
    if announced is not None and labels.max() >= announced.identities:
        row = int(labels.argmax())
        raise InvalidInput(
            f"{records}: key {table.keys[rows[row]]} has label {labels[row]:.0f}, but {files.PROPERTY_FILE} announces "
            f"{announced.identities} identities: the files belong to different sets"
        )
    return np.asarray(labels, np.int64)


def _select_identities(
    raw_labels: NDArray[np.int64], min_images: int, directory: Path
) -> tuple[NDArray[np.bool_], NDArray[np.int64], int]:
    """Which images belong to identities with enough images, their labels without gaps, and identities dropped.

    Raises:
        InvalidInput: where nothing is left.
    """
    _, numbers, counts = np.unique(raw_labels, return_inverse=True, return_counts=True)
    is_kept_class = counts >= min_images
    is_kept = is_kept_class[numbers]
    if not is_kept.any():
        raise InvalidInput(f"{directory}: no identity has {min_images} images: lower data.minImagesPerIdentity")
    renumbered = np.cumsum(is_kept_class) - 1
    return is_kept, renumbered[numbers[is_kept]].astype(np.int64), int((~is_kept_class).sum())


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
        is_kept, labels, dropped = _select_identities(np.array(raw_labels, np.int64), min_images, directory)
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
        is_folder, has_records = directory.is_dir(), (directory / files.RECORDS_FILE).exists()
    if not is_folder:
        raise InvalidInput(
            f"{directory}: no such folder: give the folder with {files.RECORDS_FILE} or with image folders"
        )
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
