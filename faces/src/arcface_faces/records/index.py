"""`train.idx`: text lines `key<TAB>byte offset`, in any order, as two integer arrays."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api import os_errors
from arcface_api.errors import InvalidInput

LINE = re.compile(rb"\d{1,18}[ \t]+\d{1,18}[ \t]*\r?")
# Possessive, so that six million lines leave nothing to backtrack into.
LINES = re.compile(rb"(?:\d{1,18}+[ \t]++\d{1,18}+[ \t]*+\r?+(?:\n|\Z))*+\s*+")
SHOWN = 40
"""Characters of a bad line that the error repeats."""


@dataclass(frozen=True, slots=True)
class Index:
    """Keys and offsets in the order of the lines: row i is line i + 1."""

    path: Path
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def where(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}:{row + 1}"


def read_index(path: Path, record_bytes: int) -> Index:
    """Parse an index of a record file of `record_bytes`.

    InvalidInput, naming the line, for text that is not two integers, a key or an offset that occurs twice, or an offset
    at or beyond the end of the record file; offsets may still point at something else than a record.
    """
    text = _text_of(path)
    if not text or text.isspace():
        raise InvalidInput(f"{path}: is empty: copy the file again")
    if not LINES.fullmatch(text):
        raise _first_bad_line(path, text)
    numbers = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 2)
    index = Index(path, np.ascontiguousarray(numbers[:, 0]), np.ascontiguousarray(numbers[:, 1]))
    _check_unique(index, "key", index.keys)
    _check_unique(index, "offset", index.offsets)
    _check_offsets(index, record_bytes)
    return index


def _text_of(path: Path) -> bytes:
    with os_errors.explained(path, "cannot be read", "put it beside the .rec and give this user the right to read it"):
        return path.read_bytes()


def _first_bad_line(path: Path, text: bytes) -> InvalidInput:
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not LINE.fullmatch(line):
            shown = ascii(line[:SHOWN].decode("latin-1"))
            return InvalidInput(
                f"{path}:{number}: {shown} is not a key and a byte offset separated by a tab: copy or write the index "
                "anew"
            )
    raise AssertionError("every line matches but the text does not")


def _check_unique(index: Index, name: str, numbers: NDArray[np.int64]) -> None:
    order = np.argsort(numbers, kind="stable")
    repeats = np.flatnonzero(np.diff(numbers[order]) == 0)
    if len(repeats):
        first, second = order[repeats[0]], order[repeats[0] + 1]
        raise InvalidInput(
            f"{index.where(second)}: {name} {numbers[second]} occurs twice (first on line {first + 1}): "
            "write the index anew"
        )


def _check_offsets(index: Index, record_bytes: int) -> None:
    beyond = np.flatnonzero(index.offsets >= record_bytes)
    if len(beyond):
        row = int(beyond[0])
        raise InvalidInput(
            f"{index.where(row)}: offset {index.offsets[row]} lies beyond the end of the record file "
            f"({record_bytes} bytes): the .rec is cut short or the .idx belongs to another one"
        )
