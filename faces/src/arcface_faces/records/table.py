"""What the heads of records say, as arrays: of all of them, or of the few that tell of the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.records.index import Index
from arcface_faces.records.recordio import FIRST, IMAGE_HEAD, LENGTH_BITS, LONGEST_PART, MAGIC, PART_HEAD, RecordFile

# The first 40 bytes of a record; `first` and `second` are labels only where the flag says so.
HEAD = np.dtype(
    [
        ("magic", "<u4"),
        ("part", "<u4"),
        ("flag", "<u4"),
        ("label", "<f4"),
        ("identifiers", "<u8", 2),
        ("first", "<f4"),
        ("second", "<f4"),
    ]
)
BLOCK = 32 << 20
"""Bytes of the record file read at once."""
GAP = 64 << 10
"""Bytes between two heads that are rather read than passed over: a disk or a server reads that much for one, too."""


@dataclass(frozen=True, slots=True)
class RecordTable:
    """One row a record, sorted by key."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    extents: NDArray[np.int64]
    """Bytes of the record in the file, without its last padding."""
    image_sizes: NDArray[np.int64]
    flags: NDArray[np.int64]
    labels: NDArray[np.float32]
    """(N, 2): the scalar or the first label, and the second one (NaN where there is none)."""

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def empty(cls, keys: NDArray[np.int64], offsets: NDArray[np.int64]) -> Self:
        """Rows to be filled in."""
        extents, image_sizes, flags = np.zeros((3, len(keys)), np.int64)
        return cls(keys, offsets, extents, image_sizes, flags, np.full((len(keys), 2), np.nan, np.float32))

    def sorted_by_key(self) -> "RecordTable":
        """The same records in the order of their keys."""
        order = np.argsort(self.keys, kind="stable")
        return RecordTable(
            self.keys[order],
            self.offsets[order],
            self.extents[order],
            self.image_sizes[order],
            self.flags[order],
            self.labels[order],
        )


def read_heads(file: RecordFile, index: Index, lines: NDArray[np.int64]) -> RecordTable:
    """Read the heads of the records at these rows of the index, in the order of the file.

    InvalidInput, naming the line of the index or the key, where an offset is not the start of a record, a record is
    cut short by the end of the file, or is too short for an image header.
    """
    lines = lines[np.argsort(index.offsets[lines], kind="stable")]
    table = RecordTable.empty(index.keys[lines], index.offsets[lines])
    for rows in _runs(table.offsets):
        heads = _heads(file, table.offsets[rows])
        _check_starts(heads, lines[rows], index)
        _fill(table, rows, heads, file)
    return table.sorted_by_key()


def _runs(offsets: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of ascending offsets that one read takes: near each other, and within one block of the file."""
    jumps = np.flatnonzero(np.diff(offsets) > GAP) + 1
    for first, stop in pairwise([0, *jumps.tolist(), len(offsets)]):
        start = first
        while start < stop:
            reached = start + int(np.searchsorted(offsets[start:stop], offsets[start] + BLOCK, side="left"))
            yield np.arange(start, reached)
            start = reached


def _heads(file: RecordFile, offsets: NDArray[np.int64]) -> NDArray[np.void]:
    start = int(offsets[0])
    wanted = int(offsets[-1]) - start + HEAD.itemsize
    data = np.frombuffer(file.bytes_at(start, wanted).ljust(wanted, b"\0"), np.uint8)
    bytes_of_heads = data[(offsets - start)[:, None] + np.arange(HEAD.itemsize)]
    return np.ascontiguousarray(bytes_of_heads).view(HEAD)[:, 0]


def _check_starts(heads: NDArray[np.void], lines: NDArray[np.int64], index: Index) -> None:
    wrong = np.flatnonzero((heads["magic"] != MAGIC) | (heads["part"] >> LENGTH_BITS > FIRST))
    if len(wrong):
        line = int(lines[wrong].min())
        raise InvalidInput(
            f"{index.where(line)}: no record starts at offset {index.offsets[line]}: the .rec is damaged or the .idx "
            "belongs to another one"
        )


def _fill(table: RecordTable, rows: NDArray[np.int64], heads: NDArray[np.void], file: RecordFile) -> None:
    lengths = (heads["part"] & LONGEST_PART).astype(np.int64)
    flags = heads["flag"].astype(np.int64)
    table.extents[rows] = lengths + PART_HEAD.size
    table.flags[rows] = flags
    table.labels[rows, 0] = np.where(flags == 0, heads["label"], heads["first"])
    table.labels[rows, 1] = np.where(flags > 1, heads["second"], np.nan)
    table.image_sizes[rows] = lengths - IMAGE_HEAD.size - 4 * flags
    # The rest of a record in parts may hide the escaped magic inside its very header.
    in_parts = heads["part"] >> LENGTH_BITS == FIRST
    for row in rows[in_parts]:
        _fill_from_parts(table, int(row), file)
    _check_ends(table, rows[~in_parts], file)


def _fill_from_parts(table: RecordTable, row: int, file: RecordFile) -> None:
    offset = int(table.offsets[row])
    extent = file.extent(offset)
    header, image = file.read(offset, extent)
    table.extents[row] = extent
    table.flags[row] = header.flag
    table.labels[row, 0] = header.labels[0]
    table.labels[row, 1] = header.labels[1] if header.flag > 1 else np.nan
    table.image_sizes[row] = len(image)


def _check_ends(table: RecordTable, rows: NDArray[np.int64], file: RecordFile) -> None:
    ends = table.offsets[rows] + table.extents[rows]
    late = np.flatnonzero(ends > file.size)
    if len(late):
        row = rows[late[0]]
        raise InvalidInput(
            f"{file.path}: ends at byte {file.size} inside the record of key {table.keys[row]}, which reaches to byte "
            f"{ends[late[0]]}: the file is cut short, copy it again"
        )
    short = rows[table.image_sizes[rows] < 0]
    if len(short):
        raise InvalidInput(
            f"{file.path}: the record of key {table.keys[short[0]]} is too short for an image header: write the "
            "file anew"
        )
