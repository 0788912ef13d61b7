"""The index of a training set: where its images are and of whom, as columns in one file that all ranks of a host map.

The file is a line of JSON, padded, and the columns behind it. It says what it was made from, so that another set's is
never taken for this one's, and carries check sums of the line and of the columns. It is published by rename and
never changed then: a mapping of it stays whole while it is used.
"""

import hashlib
import mmap
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from arcface_api.errors import InvalidInput
from arcface_api.model import Model
from arcface_faces.positioned_file import open_regular

FORMAT: Final = "arcface-index/2"
"""Raised where the files of older versions may hold what is refused now."""
HEADER_BYTES = 4096
SEAL_BYTES = 9
ALIGNMENT = 64
Column = NDArray[Any]


class _ColumnEntry(Model):
    dtype: Literal["|u1", "<i4", "<u4", "<i8"]
    rows: int = Field(ge=0)

    @classmethod
    def of(cls, column: Column) -> Self:
        return cls.model_validate({"dtype": column.dtype.str, "rows": len(column)})

    @property
    def size(self) -> int:
        """Bytes with padding."""
        size = self.rows * np.dtype(self.dtype).itemsize
        return size + -size % ALIGNMENT


class _Header(Model):
    format: Literal["arcface-index/2"] = FORMAT
    made_from: str
    class_count: int = Field(ge=1)
    dropped_identities: int = Field(ge=0)
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    columns: dict[str, _ColumnEntry]
    crc32: int


@dataclass(frozen=True, slots=True)
class DatasetIndex:
    """Columns by name, in memory or mapped, and what is known of all of them."""

    columns: Mapping[str, Column]
    class_count: int
    dropped_identities: int
    fingerprint: str
    """SHA-256 of what tells one set from another: how many images, whose they are, where each lies and how large."""

    def write(self, file: BinaryIO, made_from: str) -> None:
        """Store the columns with a note of what they were made from."""
        entries = {name: _ColumnEntry.of(column) for name, column in self.columns.items()}
        crc32 = 0
        file.write(bytes(HEADER_BYTES))
        for column in self.columns.values():
            data = np.ascontiguousarray(column).data.cast("B")
            for part in (data, memoryview(bytes(-len(data) % ALIGNMENT))):
                crc32 = zlib.crc32(part, crc32)
                file.write(part)
        header = _Header(
            made_from=made_from,
            class_count=self.class_count,
            dropped_identities=self.dropped_identities,
            fingerprint=self.fingerprint,
            columns=entries,
            crc32=crc32,
        )
        file.seek(0)
        text = header.to_json().encode().ljust(HEADER_BYTES - SEAL_BYTES)
        file.write(text + _seal(text))

    @classmethod
    def map(cls, path: Path, made_from: str) -> Self | None:
        """The index in a file, None where it was made from something else.

        Raises:
            OSError: which says nothing about the content.
            InvalidInput: where the file is damaged or no index.
        """
        with open_regular(path) as file:
            text, seal = (head := file.read(HEADER_BYTES))[:-SEAL_BYTES], head[-SEAL_BYTES:]
            if seal != _seal(text):
                raise InvalidInput(f"{path}: does not begin as an index: it is made anew")
            header = _Header.from_ours(text, str(path))
            if header.made_from != made_from:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        body = memoryview(mapped)[HEADER_BYTES:]
        if len(body) != sum(entry.size for entry in header.columns.values()) or zlib.crc32(body) != header.crc32:
            raise InvalidInput(f"{path}: is not what was written: it is made anew")
        columns: dict[str, Column] = {}
        for name, entry in header.columns.items():
            columns[name] = np.frombuffer(body[: entry.size], entry.dtype, entry.rows)
            body = body[entry.size :]
        return cls(columns, header.class_count, header.dropped_identities, header.fingerprint)


@dataclass(frozen=True, slots=True)
class IndexedDataset:
    """What a training set knows of its images without reading them."""

    index: DatasetIndex

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
        """What tells this set from another, by what all releases know of it."""
        return self.index.fingerprint

    @property
    def content_fingerprint(self) -> str:
        """The same by all that this release knows."""
        return self.index.fingerprint


def _seal(text: bytes) -> bytes:
    """Check sum of a header, which ends its line."""
    return b"%08x\n" % zlib.crc32(text)


def fingerprint(kind: str, columns: Iterable[Column | int]) -> str:
    """SHA-256 of a kind of set, numbers and columns; what it is made of stays the same over releases."""
    digest = hashlib.sha256(kind.encode())
    for column in columns:
        data = np.asarray(column, "<i8") if isinstance(column, int) else np.ascontiguousarray(column)
        digest.update(f" {data.dtype.str} {data.size} ".encode())
        digest.update(data.data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Selection:
    """Identities with enough images, numbered without gaps."""

    is_chosen: NDArray[np.bool_]
    """Of each image, whether it stays."""
    labels: NDArray[np.int32]
    """Of the images that stay."""
    identities: NDArray[np.int32]
    """What the set itself calls the identities that stay."""
    dropped: int
    """Identities left out."""

    @classmethod
    def of(cls, raw_labels: NDArray[np.int32], min_images: int, directory: Path) -> Self:
        """InvalidInput where nothing is left."""
        counts = np.bincount(raw_labels)
        is_chosen_class = counts >= min_images
        if not is_chosen_class.any():
            raise InvalidInput(f"{directory}: no identity has {min_images} images: lower data.minImagesPerIdentity")
        is_chosen = is_chosen_class[raw_labels]
        renumbered = (np.cumsum(is_chosen_class) - 1).astype(np.int32)
        identities = np.flatnonzero(is_chosen_class).astype(np.int32)
        dropped = int(((counts > 0) & ~is_chosen_class).sum())
        return cls(is_chosen, renumbered[raw_labels[is_chosen]], identities, dropped)
