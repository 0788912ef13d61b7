"""`train.idx`: lines `key<TAB>byte offset`, in any order, read in blocks, so that millions cost little memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.positioned_file import open_regular

LINE = re.compile(rb"\d{1,18}[ \t]+\d{1,18}[ \t]*\r?")
# Possessive, so that a block of lines leaves nothing to backtrack into.
LINES = re.compile(rb"(?:\d{1,18}+[ \t]++\d{1,18}+[ \t]*+\r?+(?:\n|\Z))*+")
SHOWN = 40
"""Characters of a bad line that the error repeats."""
BLOCK = 8 << 20
"""Bytes of text read at once."""


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
    blocks: list[NDArray[np.int64]] = []
    rows = 0
    for text in _blocks(path):
        blocks.append(_numbers(path, text, rows))
        rows += len(blocks[-1])
    if not rows:
        raise InvalidInput(f"{path}: is empty: copy the file again")
    keys, offsets = (np.concatenate([block[:, column] for block in blocks]) for column in (0, 1))
    index = Index(path, keys, offsets)
    _check_unique(index, "key", index.keys)
    _check_unique(index, "offset", index.offsets)
    _check_offsets(index, record_bytes)
    return index


def _blocks(path: Path) -> Iterator[bytes]:
    """The text in whole lines; the last block ends where the file does, without the blanks there."""
    remedy = "put it beside the .rec and give this user the right to read it"
    with explained(path, "cannot be read", remedy), open_regular(path) as file:
        pending = b""
        while text := file.read(BLOCK):
            # Blanks may be the end of the file, and are held back until more follows.
            whole = (pending + text).rstrip()
            stop = whole.rfind(b"\n") + 1
            pending = (pending + text)[stop:]
            if stop:
                yield whole[:stop]
            elif len(pending) > BLOCK:  # no line is so long: it is refused by its number
                break
    if last := pending.rstrip():
        yield last


def _numbers(path: Path, text: bytes, rows_before: int) -> NDArray[np.int64]:
    """Keys and offsets of whole lines, (N, 2)."""
    if not LINES.fullmatch(text):
        raise _first_bad_line(path, text, rows_before)
    return np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 2)


def _first_bad_line(path: Path, text: bytes, rows_before: int) -> InvalidInput:
    for number, line in enumerate(text.split(b"\n"), start=rows_before + 1):
        if not LINE.fullmatch(line):
            shown = ascii(line[:SHOWN].decode("latin-1"))
            return InvalidInput(
                f"{path}:{number}: {shown} is not a key and a byte offset separated by a tab: copy or write the index "
                "anew"
            )
    raise AssertionError("every line matches but the text does not")


def _check_unique(index: Index, name: str, numbers: NDArray[np.int64]) -> None:
    if (np.diff(numbers) > 0).all():
        return
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
