"""Files that are there whole or not at all, whatever ends the process or fills the disk."""

import fcntl
import glob
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from arcface_api.errors import InvalidInput, explained

STDOUT = Path("-")
REMEDY = "name another file"
PARTIAL = ".partial"
"""End of the names of files that are not whole."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside another, whose place it takes at the end with its rights; gone where anything fails.

    Raises:
        OSError: as the system does.
    """
    _remove_abandoned(path)
    with _open_hidden(path) as file:
        hidden = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                hidden.chmod(path.stat().st_mode & 0o777)
            hidden.rename(path)
        finally:
            hidden.unlink(missing_ok=True)


def _open_hidden(path: Path) -> BinaryIO:
    """A new file beside another, whatever other processes write in its place at the same time.

    It is locked while it is open, which tells it from those that a killed process left.
    """
    while True:
        file = _hidden_name(path).open("xb")
        with suppress(OSError):  # where files cannot be locked none is taken for abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else another process was faster and took it for abandoned
            return file
        file.close()


def _hidden_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextmanager
def undoing(written: Path | None) -> Iterator[None]:
    """Takes a file that was just written away again where what belongs to it, made inside, fails."""
    try:
        yield
    except BaseException:
        if written is not None:
            written.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a file by `replacing` it; what is no file, as a pipe, is written to.

    Raises:
        ArcFaceError: where it cannot be written; what was there stays as it was.
    """
    if path == STDOUT:
        _print(text)
        return
    with explained(path, "cannot be written", REMEDY):
        if not is_replaced(path):
            path.write_text(text, encoding="utf-8")
            return
        with replacing(real(path)) as file:
            file.write(text.encode())


def real(path: Path) -> Path:
    """Where a path leads; links that lead in a circle are no error, as they are for `Path.resolve`."""
    return Path(os.path.realpath(path))


def is_replaced(path: Path) -> bool:
    """Whether what is written there takes the place of what was, as it does not in a pipe."""
    return path != STDOUT and (path.is_file() or not path.exists())


def _print(text: str) -> None:
    with explained("standard output", "cannot be written", REMEDY):
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            close_stdout()
            raise


def close_stdout() -> None:
    """Let what is still to be printed go nowhere: the interpreter would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_writable(path: Path, option: str) -> None:
    """InvalidInput, naming the option, where `write_whole` would find no place."""
    if path == STDOUT:
        return
    with explained(f"{option} {path}", "cannot be looked for", REMEDY):
        if path.is_dir():
            raise InvalidInput(f"{option} {path}: is a folder; name a file in it")
        target = real(path)
        if not target.parent.is_dir():
            raise InvalidInput(f"{option} {path}: its folder is not there; make it or name another file")
        is_other = target.exists() and not target.is_file()
        _hidden_name(target).exists()  # raises for a name that is too long for it
        for place in [target] if is_other else [target.parent, *([target] if target.exists() else [])]:
            if not os.access(place, os.W_OK):
                raise InvalidInput(f"{option} {path}: may not be written; {REMEDY}")
