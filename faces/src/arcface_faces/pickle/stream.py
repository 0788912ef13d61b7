"""The bytes of a pickle: opcodes' arguments are read in order, strings stay in their file as slices."""

import codecs
import os
import re
import struct
from collections.abc import Callable
from enum import IntEnum
from io import BufferedReader
from typing import NamedTuple

from arcface_api.errors import InvalidInput
from arcface_faces.positioned_file import PositionedFile

LONGEST_WORD = 64
"""Bytes of the longest name (an encoding, a dtype) that is read as text."""
LONGEST_STRING = 1 << 26
"""Bytes in the file of the longest string; an encoded face has some thousands."""
LONGEST_LINE = 256
"""Bytes of the longest line that holds a number or a name."""
DECIMAL = re.compile(rb"-?\d{1,18}")
CUT_SHORT = "the file ends inside the pickle: copy the file again"


class Coding(IntEnum):
    """How a string is written in a pickle."""

    BYTES = 0  # as they are
    QUOTED = 1  # a line in quotes with escapes: `str` of Python 2, protocol 0
    UTF8 = 2  # text
    ESCAPED = 3  # a line of text with \\u escapes: protocol 0
    UTF8_LATIN1 = 4  # text whose characters stand for the bytes 0 to 255
    ESCAPED_LATIN1 = 5


LATIN1 = {Coding.UTF8: Coding.UTF8_LATIN1, Coding.ESCAPED: Coding.ESCAPED_LATIN1}
"""Coding of a text's bytes once it is encoded as Latin-1."""


class FileSlice(NamedTuple):
    """A string inside a file."""

    offset: int
    length: int
    coding: Coding
    size: int = -1
    """Bytes that it must have when decoded; -1 where nothing else in the file tells."""

    @property
    def is_text(self) -> bool:
        """Whether it holds characters rather than bytes."""
        return self.coding in LATIN1


def _unquote(written: bytes) -> bytes:
    return codecs.escape_decode(written)[0]


DECODE: dict[Coding, Callable[[bytes], bytes]] = {
    Coding.BYTES: bytes,
    Coding.QUOTED: _unquote,
    Coding.UTF8: bytes,
    Coding.ESCAPED: lambda written: written.decode("raw-unicode-escape").encode(),
    Coding.UTF8_LATIN1: lambda written: written.decode().encode("latin-1"),
    Coding.ESCAPED_LATIN1: lambda written: written.decode("raw-unicode-escape").encode("latin-1"),
}


class SlicedFile(PositionedFile):
    """A file with strings in it."""

    suffix = ".bin"

    def stream(self) -> BufferedReader:
        """The same file to be read in order from its start; the caller closes it."""
        opened = os.fdopen(os.dup(self.descriptor), "rb")
        opened.seek(0)
        return opened

    def read(self, part: FileSlice) -> bytes:
        """The string's bytes (text as UTF-8); InvalidInput, without the file's name, where they are not as written."""
        try:
            data = DECODE[part.coding](self._string_at(part.offset, part.length))
        except ValueError as error:
            raise InvalidInput(f"the string at byte {part.offset} cannot be decoded ({error})") from error
        if part.size not in {-1, len(data)}:
            raise InvalidInput(f"the array at byte {part.offset} has {len(data)} bytes, its shape says {part.size}")
        return data

    def word(self, part: FileSlice) -> str:
        """A short name, e.g. of an encoding; empty where the string is too long to be one."""
        if part.length > LONGEST_WORD:
            return ""
        return self.read(part).decode("ascii", errors="replace")

    def _string_at(self, offset: int, length: int) -> bytes:
        data = self.bytes_at(offset, length)
        if len(data) < length:
            raise InvalidInput(f"the file ends inside the string at byte {offset}: copy the file again")
        return data


class PickleStream:
    """Sequential reads; every one ends in InvalidInput, without the file's name, where the file is too short."""

    def __init__(self, file: SlicedFile, stream: BufferedReader) -> None:
        self.file = file
        self._stream = stream

    @property
    def position(self) -> int:
        """Byte that is read next."""
        return self._stream.tell()

    def take(self, size: int) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        if len(data) < size:
            raise InvalidInput(CUT_SHORT)
        return data

    def integer(self, layout: struct.Struct) -> int:
        """A binary number."""
        number: int = layout.unpack(self.take(layout.size))[0]
        return number

    def line(self, longest: int = LONGEST_LINE) -> bytes:
        """Bytes up to the end of the line, which is dropped."""
        line = self._stream.readline(longest)
        if not line.endswith(b"\n"):
            raise InvalidInput(CUT_SHORT if len(line) < longest else f"a line is longer than {longest} bytes")
        return line[:-1]

    def string(self, length: int, coding: Coding) -> FileSlice:
        """A string of known length; its bytes are not read."""
        offset = self.position
        self._check_ahead(length)
        if length > LONGEST_STRING:
            raise InvalidInput(f"a string of {length} bytes is longer than any image ({LONGEST_STRING})")
        self._stream.seek(offset + length)
        return FileSlice(offset, length, coding)

    def quoted_line(self) -> FileSlice:
        """A line that is a string in quotes."""
        offset = self.position
        line = self.line(LONGEST_STRING)
        if len(line) < 2 or line[:1] not in {b"'", b'"'} or line[-1:] != line[:1]:
            raise InvalidInput("a string is not in quotes")
        return FileSlice(offset + 1, len(line) - 2, Coding.QUOTED)

    def text_line(self) -> FileSlice:
        """A line that is text."""
        offset = self.position
        return FileSlice(offset, len(self.line(LONGEST_STRING)), Coding.ESCAPED)

    def frame(self, length: int) -> None:
        """Announced bytes, which must be there."""
        self._check_ahead(length)

    def _check_ahead(self, length: int) -> None:
        if not 0 <= length <= self.file.size - self.position:
            raise InvalidInput(CUT_SHORT)


def decimal(line: bytes) -> int:
    """The number that a line holds."""
    if not DECIMAL.fullmatch(line):
        raise InvalidInput(f"{line[:32].decode('latin-1')!a} is not a number")
    return int(line)
