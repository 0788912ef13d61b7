"""Text with a record a line, as spreadsheets, scripts and editors of all systems write it.

UTF-8 or UTF-16, with or without a mark of byte order; commas, semicolons, tabs or blanks between the fields. Lines are
counted as editors count them, blank ones included.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import InvalidInput, explained

SIZE_LIMIT = 1 << 28
"""Bytes of a list."""
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""As all programs write numbers: Python would read 1_0 as 10."""
NO_HEADING = re.compile(r"[-+.]*\d.*|nan|na|n/a|inf|infinity|null|none", re.IGNORECASE)
"""What is, or was meant to be, a number, and what programs write in its place."""
BLANKS = " "
SEPARATORS = (",", ";", "\t", BLANKS)
"""In the order in which they are tried."""
LONGEST_SHOWN = 80
"""Letters of a record that a message shows."""
MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
"""How a text begins that says its encoding."""


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one record, without blanks around them."""

    line: int
    """Counted from 1; of the last line where a quoted field has several."""
    fields: list[str]

    def shown(self) -> str:
        """For messages."""
        return repr(",".join(self.fields)[:LONGEST_SHOWN])


def read_lines(path: Path, remedy: str) -> list[str]:
    """The lines of a text without their ends; InvalidInput where it is too long or no text."""
    with explained(path, "cannot be read", remedy):
        if path.stat().st_size > SIZE_LIMIT:
            raise InvalidInput(f"{path}: has more than {SIZE_LIMIT} bytes, which is no list: {remedy}")
        data = path.read_bytes()
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise InvalidInput(f"{path}: byte {error.start} is no {name} text: save it as UTF-8") from None
    # Not splitlines(), which ends lines where names of some languages go on.
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []


def rows(path: Path, lines: list[str], fits: Callable[[list[str]], bool]) -> Iterator[Row]:
    """The records of lines, blank ones left out.

    Args:
        path: for messages.
        lines: of the whole file.
        fits: tells whether the fields of the first record are what they should be, which decides on the separator.

    Raises:
        InvalidInput: where quotes or lengths are none of a table.
    """
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    if start == len(lines):
        return
    separator = next((mark for mark in SEPARATORS if fits(_fields(lines[start], mark))), SEPARATORS[0])
    if separator == BLANKS:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield Row(number, line.split())
        return
    # Ends of lines within a quoted field are part of it.
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield Row(reader.line_num, [field.strip() for field in fields])
    except csv.Error as error:
        raise InvalidInput(
            f"{path} line {reader.line_num}: is no CSV ({error}); look for quotes without an end"
        ) from None


def is_heading(fields: list[str]) -> bool:
    """Whether the first line of a list of numbers names its columns: a line with a number that is wrong is none."""
    return len(set(fields)) == len(fields) and not any(map(NO_HEADING.fullmatch, fields))


def _encoding(data: bytes) -> str:
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:2]:  # letters of UTF-16 without a mark
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    return "utf-8"


def _fields(line: str, separator: str) -> list[str]:
    if separator == BLANKS:
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []
