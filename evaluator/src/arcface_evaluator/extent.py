"""Byte strings that stay in their file: where they are, how they are written there, and how to get them out."""

import codecs
import os
import weakref
from collections.abc import Callable
from enum import IntEnum
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from arcface_api.errors import InvalidInput

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


class ExtentFile:
    """Positioned reads, so that threads may share the file and none moves another's place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path}: is not a file: give the path of a .bin")
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidInput(
                f"{path}: cannot be opened ({error.strerror}): correct the path or give this user the right to read it"
            ) from error
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def __reduce__(self) -> tuple[type["ExtentFile"], tuple[Path]]:
        """Another process opens the file anew."""
        return ExtentFile, (self.path,)

    def stream(self) -> BufferedReader:
        """The same file to be read in order from its start; the caller closes it."""
        opened = os.fdopen(os.dup(self._descriptor), "rb")
        opened.seek(0)
        return opened

    def read(self, extent: Extent) -> bytes:
        """The string's bytes (text as UTF-8); InvalidInput, without the file's name, where they are not as written."""
        try:
            data = DECODE[extent.coding](self._bytes_at(extent.offset, extent.length))
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

    def _bytes_at(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise InvalidInput(f"byte {offset} of the file cannot be read ({error.strerror})") from error
        if len(data) < length:
            raise InvalidInput(f"the file ends inside the string at byte {offset}: copy the file again")
        return data
