"""The files of a training set in records, and the two of them that are text.

`train.rec` holds the images; `train.idx` has lines `key<TAB>byte offset`, in any order; `property`, which only the
classic layout has, says `identities,height,width`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.images.face_input import IMAGE_SIZE

RECORDS_FILE = "train.rec"
INDEX_FILE = "train.idx"
PROPERTY_FILE = "property"
EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to here are exact in float32."""
LINE = re.compile(rb"\d{1,18}[ \t]+\d{1,18}[ \t]*\r?")
# Possessive, so that six million lines leave nothing to backtrack into.
LINES = re.compile(rb"(?:\d{1,18}+[ \t]++\d{1,18}+[ \t]*+\r?+(?:\n|\Z))*+\s*+")
SHOWN = 40
"""Characters of a bad line that the error repeats."""


@dataclass(frozen=True, slots=True)
class Property:
    """The text file `property`: number of identities and size of the images."""

    identities: int
    height: int
    width: int


def read_property(path: Path) -> Property | None:
    """Parse `property`, None where there is none; InvalidInput for other text or another image size."""
    try:
        with explained(path, "cannot be read", "copy the file again"):
            if not path.exists():
                return None
            text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: cannot be read as text ({error}): copy the file again") from error
    fields = (text.splitlines() or [""])[0].split(",")
    if len(fields) != 3 or not all(field.strip().isdigit() for field in fields):
        raise InvalidInput(f"{path}: {text[:40]!a} is not 'identities,height,width', such as 85742,112,112: write that")
    identities, height, width = (int(field) for field in fields)
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(f"{path}: images of {width}x{height}: pack them anew at {IMAGE_SIZE}x{IMAGE_SIZE}")
    return Property(identities, height, width)


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


def refuse_existing(directory: Path, names: tuple[str, ...]) -> None:
    """InvalidInput where one of the files is there already: nothing is written over."""
    for name in names:
        with explained(directory / name, "cannot be looked for", "choose another folder"):
            is_there = (directory / name).exists()
        if is_there:
            raise InvalidInput(f"{directory / name}: exists already: choose another folder or remove it first")


def _text_of(path: Path) -> bytes:
    with explained(path, "cannot be read", "put it beside the .rec and give this user the right to read it"):
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
