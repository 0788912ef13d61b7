"""Byte strings that stay in their file: where they are, how they are written there, and how to get them out."""

import codecs
import os
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


class Extent(NamedTuple):
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


def _unquoted(written: bytes) -> bytes:
    return codecs.escape_decode(written)[0]


DECODE: dict[Coding, Callable[[bytes], bytes]] = {
    Coding.BYTES: bytes,
    Coding.QUOTED: _unquoted,
    Coding.UTF8: bytes,
    Coding.ESCAPED: lambda written: written.decode("raw-unicode-escape").encode(),
    Coding.UTF8_LATIN1: lambda written: written.decode().encode("latin-1"),
    Coding.ESCAPED_LATIN1: lambda written: written.decode("raw-unicode-escape").encode("latin-1"),
}


class ExtentFile(PositionedFile):
    """A file with strings in it."""

    suffix = ".bin"

    def stream(self) -> BufferedReader:
        """The same file to be read in order from its start; the caller closes it."""
        opened = os.fdopen(os.dup(self.descriptor), "rb")
        opened.seek(0)
        return opened

    def read(self, extent: Extent) -> bytes:
        """The string's bytes (text as UTF-8); InvalidInput, without the file's name, where they are not as written."""
        try:
            data = DECODE[extent.coding](self._string_at(extent.offset, extent.length))
        except ValueError as error:
            raise InvalidInput(f"the string at byte {extent.offset} cannot be decoded ({error})") from error
        if extent.size not in {-1, len(data)}:
            raise InvalidInput(f"the array at byte {extent.offset} has {len(data)} bytes, its shape says {extent.size}")
        return data

    def word(self, extent: Extent) -> str:
        """A short name, e.g. of an encoding; empty where the string is too long to be one."""
        if extent.length > LONGEST_WORD:
            return ""
        return self.read(extent).decode("ascii", errors="replace")

    def _string_at(self, offset: int, length: int) -> bytes:
        data = self.bytes_at(offset, length)
        if len(data) < length:
            raise InvalidInput(f"the file ends inside the string at byte {offset}: copy the file again")
        return data
