"""A file system of its own, small enough to be filled, which only root may mount."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A volume in memory at a folder, which is made; the test is skipped where nobody may mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"only root may mount: {found.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def make_read_only(volume: Path) -> None:
    """From now on."""
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)


def fill(volume: Path, left: int = 0) -> Path:
    """Leave so many bytes; the file that takes the others."""
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with filler.open("rb+") as file:
        file.truncate(filler.stat().st_size - left)
    return filler
