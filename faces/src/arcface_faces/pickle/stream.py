"""The arguments of pickle opcodes, read in order from a file; strings are skipped and kept as extents."""

import re
import struct
from io import BufferedReader

from arcface_api.errors import InvalidInput
from arcface_faces.pickle.file_slice import LONGEST_STRING, Coding, Extent, ExtentFile

LONGEST_LINE = 256
"""Bytes of the longest line that holds a number or a name."""
DECIMAL = re.compile(rb"-?\d{1,18}")
CUT_SHORT = "the file ends inside the pickle: copy the file again"


class PickleStream:
    """Sequential reads; every one ends in InvalidInput, without the file's name, where the file is too short."""

    def __init__(self, file: ExtentFile, stream: BufferedReader) -> None:
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

    def string(self, length: int, coding: Coding) -> Extent:
        """A string of known length; its bytes are not read."""
        offset = self.position
        self._check_ahead(length)
        if length > LONGEST_STRING:
            raise InvalidInput(f"a string of {length} bytes is longer than any image ({LONGEST_STRING})")
        self._stream.seek(offset + length)
        return Extent(offset, length, coding)

    def quoted_line(self) -> Extent:
        """A line that is a string in quotes."""
        offset = self.position
        line = self.line(LONGEST_STRING)
        if len(line) < 2 or line[:1] not in {b"'", b'"'} or line[-1:] != line[:1]:
            raise InvalidInput("a string is not in quotes")
        return Extent(offset + 1, len(line) - 2, Coding.QUOTED)

    def text_line(self) -> Extent:
        """A line that is text."""
        offset = self.position
        return Extent(offset, len(self.line(LONGEST_STRING)), Coding.ESCAPED)

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
