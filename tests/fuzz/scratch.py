"""Files of a process, in memory where the machine has such a place; inputs of several files are joined in one."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

BETWEEN = b"\n--8<--\n"
"""What separates the files of an input."""


@cache
def folder() -> Path:
    """A folder that goes with the process."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="arcface-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def write(name: str, data: bytes) -> Path:
    """A file, another than that of the last input: what is mapped may be looked at still."""
    path = folder() / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def write_parts(data: bytes, names: Sequence[str]) -> None:
    """The files of an input, absent where it has too few parts, in a folder that is there."""
    parts = dict(zip(names, data.split(BETWEEN), strict=False))
    for name in names:
        if name in parts:
            write(name, parts[name])
        else:
            (folder() / name).unlink(missing_ok=True)


def place(name: str) -> Path:
    """A folder below, made where it is missing."""
    made = folder() / name
    made.mkdir(parents=True, exist_ok=True)
    return made
