"""Disks that are slow or refuse, in the place of `write_tensors`."""

import errno
import os
from pathlib import Path
from threading import Event
from typing import Any

from arcface_faces.checkpoint_writing import write_tensors

PATIENCE_SECONDS = 60.0


class Disk:
    """Writes what it is told once it is let, or refuses to."""

    def __init__(self, *, is_slow: bool = False) -> None:
        self.let = Event()
        self.error: int | None = None
        if not is_slow:
            self.let.set()

    def __call__(self, path: Path, tensors: Any) -> Any:
        assert self.let.wait(PATIENCE_SECONDS)
        if self.error is not None:
            path.write_bytes(b"as far as it went")
            raise OSError(self.error, os.strerror(self.error), str(path))
        return write_tensors(path, tensors)


def refusing(number: int = errno.EIO) -> Disk:
    """One that refuses."""
    disk = Disk()
    disk.error = number
    return disk
