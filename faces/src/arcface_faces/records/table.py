"""What the heads of all records say, as arrays: the one pass over a `.rec` that finds its labels and its faults."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.progress import Advance
from arcface_faces.records.files import Index, read_index
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
    def empty(cls, index: Index) -> Self:
        """Rows to be filled in, in the order of the index."""
        size = len(index.keys)
        extents, image_sizes, flags = np.zeros((3, size), np.int64)
        return cls(index.keys, index.offsets, extents, image_sizes, flags, np.full((size, 2), np.nan, np.float32))

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


def scan_records(records: Path, index: Path, advance: Advance = lambda _: None) -> RecordTable:
    """Read the head of every indexed record, in the order of the file.

    InvalidInput, naming the line of the index or the key, where an offset is not the start of a record, a record is
    cut short by the end of the file, or is too short for an image header.
    """
    file = RecordFile(records)
    lines = read_index(index, file.size)
    table = RecordTable.empty(lines)
    order = np.argsort(lines.offsets, kind="stable")
    for rows in _blocks(order, lines.offsets):
        _fill(table, rows, _heads(file, lines.offsets[rows]), file, lines)
        advance(len(rows))
    return table.sorted_by_key()


def _blocks(order: NDArray[np.int64], offsets: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Runs of `order` whose offsets lie within one block of the file."""
    ascending = offsets[order]
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(ascending, ascending[start] + BLOCK, side="left"))
        yield order[start:stop]
        start = stop


def _heads(file: RecordFile, offsets: NDArray[np.int64]) -> NDArray[np.void]:
    start = int(offsets[0])
    wanted = int(offsets[-1]) - start + HEAD.itemsize
    data = np.frombuffer(file.bytes_at(start, wanted).ljust(wanted, b"\0"), np.uint8)
    bytes_of_heads = data[(offsets - start)[:, None] + np.arange(HEAD.itemsize)]
    return np.ascontiguousarray(bytes_of_heads).view(HEAD)[:, 0]


def _fill(table: RecordTable, rows: NDArray[np.int64], heads: NDArray[np.void], file: RecordFile, index: Index) -> None:
    _check_starts(rows, heads, index)
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


def _check_starts(rows: NDArray[np.int64], heads: NDArray[np.void], index: Index) -> None:
    wrong = np.flatnonzero((heads["magic"] != MAGIC) | (heads["part"] >> LENGTH_BITS > FIRST))
    if len(wrong):
        row = int(rows[wrong].min())
        raise InvalidInput(
            f"{index.where(row)}: no record starts at offset {index.offsets[row]}: the .rec is damaged or the .idx "
            "belongs to another one"
        )


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
