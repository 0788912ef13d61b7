"""Files that are on the disk when they are said to be, and folders that are gone when they are said to be."""

import os
import shutil
from pathlib import Path
from secrets import token_hex

from safetensors.numpy import save_file

from arcface_faces import checkpoint
from arcface_faces.checkpoint import FileEntry, TensorEntry, Tensors


def head_name(first_class: int) -> str:
    """File of the centres from `first_class` on."""
    return f"head-{first_class:09d}.safetensors"


def write_tensors(path: Path, tensors: Tensors) -> FileEntry:
    """Write tensors and flush them to disk."""
    save_file(tensors, path)
    # It writes for its user alone; whoever may read the folder may read what is in it.
    path.chmod(path.parent.stat().st_mode & 0o666)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    shapes = {name: TensorEntry(shape=list(array.shape)) for name, array in tensors.items()}
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=checkpoint.file_sha256(path), tensors=shapes)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Rename a folder, so that whoever still writes there finds it gone, then delete of it what can be deleted."""
    dead = folder.with_name(f"{folder.name}-{token_hex(4)}")
    folder.rename(dead)
    shutil.rmtree(dead, ignore_errors=True)
