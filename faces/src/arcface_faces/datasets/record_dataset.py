"""Training images in `train.rec`: which records are images and whose they are.

Two layouts occur. In the classic one (InsightFace's faces_emore) key 0 announces two numbers a and b: images are the
keys 1 to a - 1, and each key from a to b - 1 is an identity record without an image. In the other one (im2rec) every
key is an image. The announced numbers are float32 and exact only up to 2^24; above it, `property` and the index tell.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.records import layout
from arcface_faces.records.recordio import RecordFile
from arcface_faces.records.table import RecordTable
from arcface_faces.records.table_cache import load_records


@dataclass(frozen=True, slots=True)
class RecordDataset:
    """Images in the order of their keys."""

    file: RecordFile
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    extents: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_count: int
    dropped_identities: int

    @classmethod
    def open(cls, directory: Path, min_images: int) -> Self:
        """Read the index and the heads of the records; InvalidInput where they are damaged or disagree."""
        records = directory / layout.RECORDS_FILE
        announced = layout.read_property(directory / layout.PROPERTY_FILE)
        table = load_records(records, directory / layout.INDEX_FILE)
        rows = _image_rows(table, announced, records)
        raw_labels = _whole_labels(table, rows, announced, records)
        is_kept, labels, dropped = select_identities(raw_labels, min_images, directory)
        rows = rows[is_kept]
        return cls(
            RecordFile(records),
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


def _image_rows(table: RecordTable, announced: layout.Property | None, records: Path) -> NDArray[np.int64]:
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
            f"{records.with_name(layout.INDEX_FILE)}: key {missing[0]} is missing, which key 0 announces: copy "
            f"{layout.RECORDS_FILE} and {layout.INDEX_FILE} again, together"
        )


def _first_identity_key(table: RecordTable, announced: layout.Property | None, records: Path) -> int:
    """The number `a` of the classic layout."""
    first, stop = table.labels[0].tolist()
    last_key = int(table.keys[-1])
    if last_key + 1 > layout.EXACT_FLOAT32:
        if announced is None:
            raise InvalidInput(
                f"{records}: more than {layout.EXACT_FLOAT32} records need the file {layout.PROPERTY_FILE} beside it"
            )
        return last_key + 1 - announced.identities
    if not (first == first // 1 and 1 <= first <= last_key + 1 and stop == last_key + 1):
        raise InvalidInput(
            f"{records}: key 0 announces images up to key {first - 1:.0f} and identities up to key {stop - 1:.0f}, "
            f"but the index ends at key {last_key}: copy {layout.RECORDS_FILE} and {layout.INDEX_FILE} again, together"
        )
    return int(first)


def _whole_labels(
    table: RecordTable, rows: NDArray[np.int64], announced: layout.Property | None, records: Path
) -> NDArray[np.int64]:
    """Labels of the images as stored; InvalidInput where one is not a whole number from 0 to 2^24."""
    labels = table.labels[rows, 0]
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= layout.EXACT_FLOAT32) & (labels == np.floor(labels))))
    if len(wrong):
        raise InvalidInput(
            f"{records}: key {table.keys[rows[wrong[0]]]} has label {labels[wrong[0]]}, not a whole number from 0 to "
            f"{layout.EXACT_FLOAT32}: write the file anew"
        )
    if announced is not None and labels.max() >= announced.identities:
        row = int(labels.argmax())
        raise InvalidInput(
            f"{records}: key {table.keys[rows[row]]} has label {labels[row]:.0f}, but {layout.PROPERTY_FILE} announces "
            f"{announced.identities} identities: the files belong to different sets"
        )
    return np.asarray(labels, np.int64)


def select_identities(
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
