"""Files of users, read at places that threads and processes choose or in order; a pipe is never waited for."""

import os
import stat
import weakref
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import ClassVar, Self

from arcface_api.errors import InvalidInput, explained, persistently

_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Were a file a pipe, opening it would otherwise wait for somebody who writes."""


def open_regular(path: Path | str) -> BufferedReader:
    """A file to be read in order.

    Raises:
        OSError: as `open` does.
        InvalidInput: for a pipe, a terminal or another device, which has no end or none that comes by itself.
    """
    file = open(path, "rb", opener=lambda name, _: os.open(name, _READING))  # noqa: SIM115 - returned
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise InvalidInput(f"{path}: is not a file but a pipe or a device: put a file in its place")


def read_regular(path: Path | str) -> bytes:
    """All bytes of a file, opened by `open_regular`."""
    with open_regular(path) as file:
        return file.read()


class PositionedFile:
    """Positioned reads: safe to share between threads, opened again where it is unpickled.

    `pread` rather than mmap: a page fault inside a mapping holds the interpreter lock while the disk works, and a file
    cut short while mapped kills the process.
    """

    suffix: ClassVar[str]
    """How the names of such files end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path, "cannot be opened", "correct the path or give this user the right to read it"):
            self.descriptor = os.open(path, _READING)
            weakref.finalize(self, os.close, self.descriptor)  # with this object: threads may be reading from it
            status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path}: is not a file: give the path of a {self.suffix}")
        self.size = status.st_size

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file. ArcFaceError where the disk keeps giving none."""
        try:
            return self._read(offset, size)
        except OSError:  # reads are many: only one that has failed pays for what follows
            deed = f"cannot be read at byte {offset}"
            return persistently(lambda: self._read_anew(offset, size), self.path, deed, "copy the file again")

    def _read(self, offset: int, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := os.pread(self.descriptor, size, offset)):
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_anew(self, offset: int, size: int) -> bytes:
        """From the file opened anew: a stale one (NFS) or one of a helper that died (FUSE) never gives bytes again.

        It takes the descriptor's number: reads of other threads that are under way end as they would have, and
        hiccups of months leave no descriptors behind.
        """
        opened = os.open(self.path, _READING)
        try:
            if (found := os.fstat(opened).st_size) != self.size:
                remedy = "start anew with the new file"
                raise InvalidInput(f"{self.path}: had {self.size} bytes and has {found} now: {remedy}")
            os.dup2(opened, self.descriptor, inheritable=False)
        finally:
            os.close(opened)
        return self._read(offset, size)

    def explained(self, offset: int) -> AbstractContextManager[None]:
        """Turns an error of the disk at this byte into one of ours, for those who read in order."""
        return explained(self.path, f"cannot be read at byte {offset}", "copy the file again")
