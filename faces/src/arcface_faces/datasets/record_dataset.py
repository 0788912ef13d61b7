"""Training images in records."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from arcface_api.errors import InvalidInput
from arcface_faces.datasets.index import Column, DatasetIndex, IndexedDataset, Selection, fingerprint
from arcface_faces.datasets.index_store import IndexStore
from arcface_faces.records import files, layout, recordio

RULES = "2"
"""Of reading the files; raised where indexes by older ones may hold what is refused now."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of the index whose elements are Python's numbers: NumPy's take a microsecond each to become them."""

    keys: memoryview
    offsets: memoryview
    spans: memoryview
    labels: memoryview
    identities: memoryview

    @classmethod
    def of(cls, index: DatasetIndex) -> Self:
        return cls(**{each.name: index.columns[each.name].data for each in fields(cls)})


@dataclass(frozen=True, slots=True)
class RecordDataset(IndexedDataset):
    """Images in the order of their keys."""

    file: recordio.RecordFile
    rows: _Rows

    @classmethod
    def open(cls, directory: Path, min_images: int, store: IndexStore) -> Self:
        """Map the index, or make it; InvalidInput where the files are damaged or disagree."""
        file = recordio.RecordFile(directory / files.RECORDS_FILE)
        index = store.load(_made_from(directory), lambda: _make_index(directory, min_images, file.size))
        return cls(index, file, _Rows.of(index))

    def image_bytes(self, index: int) -> bytes:
        """Encoded image of a record; InvalidInput where its own head names another identity than the index."""
        rows = self.rows
        label, image = self.file.labelled_image(rows.offsets[index], rows.spans[index])
        identity = rows.identities[rows.labels[index]]
        if label != identity:
            raise InvalidInput(
                f"{self.where(index)}: is of identity {label:g} and not {identity}, as the identity records say: pack "
                "the images anew"
            )
        return image

    def read_ahead(self, start: int, stop: int) -> None:
        """Have the system read these images, which lie one behind the other, while others are computed on."""
        first, last = self.rows.offsets[start], self.rows.offsets[stop - 1] + self.rows.spans[stop - 1]
        os.posix_fadvise(self.file.descriptor, first, max(last - first, 0), os.POSIX_FADV_WILLNEED)

    def where(self, index: int) -> str:
        """File and key of an image."""
        return f"{self.file.path} key {self.rows.keys[index]}"


def _made_from(directory: Path) -> str:
    """Sizes and times; a file out of reach has none, which the reading then reports."""
    names = (files.RECORDS_FILE, files.INDEX_FILE, files.PROPERTY_FILE)
    return " ".join([RULES, *(_size_and_time(directory / name) for name in names)])


def _size_and_time(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _make_index(directory: Path, min_images: int, record_bytes: int) -> DatasetIndex:
    images = layout.find_images(directory)
    kept = Selection.of(images.identities, min_images, directory)
    columns: dict[str, Column] = {
        "keys": images.keys[kept.is_chosen],
        "offsets": images.offsets[kept.is_chosen],
        "spans": images.spans[kept.is_chosen].astype(np.uint32),
        "labels": kept.labels,
        "identities": kept.identities,
    }
    told_by = fingerprint("records", (record_bytes, columns["labels"], columns["offsets"]))
    return DatasetIndex(columns, len(kept.identities), kept.dropped, told_by)
