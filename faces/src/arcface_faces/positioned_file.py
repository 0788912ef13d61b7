"""A file that threads and processes read at places of their own."""

import os
import stat
import weakref
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Self

from arcface_api.errors import InvalidInput, explained


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
            # Were it a pipe, opening it would wait for somebody who writes.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            weakref.finalize(self, os.close, self.descriptor)
            status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path}: is not a file: give the path of a {self.suffix}")
        self.size = status.st_size

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file. ArcFaceError where the disk gives none."""
        pieces = []
        try:
            while size > 0 and (piece := os.pread(self.descriptor, size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        except OSError:
            with self.explained(offset):
                raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def explained(self, offset: int) -> AbstractContextManager[None]:
        """Turns an error of the disk at this byte into one of ours, entered for it alone: reads are many."""
        return explained(self.path, f"cannot be read at byte {offset}", "copy the file again")
