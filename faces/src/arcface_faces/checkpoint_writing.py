"""Files of checkpoints, written and flushed to disk; and a checkpoint anew, its head in another number of files.

A checkpoint is one logical head whatever number of ranks wrote it, and any number of ranks reads it: a training needs
no resharding to go on with other ranks. It is for those who want one file of all class centres, or files of a size.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_faces import checkpoint

HIDDEN = ".resharding-"
BLOCK = 1 << 20


def write_tensors(path: Path, tensors: checkpoint.Tensors) -> checkpoint.FileEntry:
    """Write tensors and flush them to disk."""
    save_file(tensors, path)
    # It writes for its user alone; whoever may read the folder may read what is in it.
    path.chmod(path.parent.stat().st_mode & 0o666)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    shapes = {name: checkpoint.TensorEntry(shape=list(array.shape)) for name, array in tensors.items()}
    return checkpoint.FileEntry(
        name=path.name, size=path.stat().st_size, sha256=checkpoint.file_sha256(path), tensors=shapes
    )


def copy_file(source: Path, folder: Path, entry: checkpoint.FileEntry) -> None:
    """Copy a file of a checkpoint and flush it to disk; Damaged where it is not what its manifest says."""
    digest = hashlib.sha256()
    with (source / entry.name).open("rb") as old, (folder / entry.name).open("xb") as new:
        while block := old.read(BLOCK):
            digest.update(block)
            new.write(block)
        new.flush()
        os.fsync(new.fileno())
    if digest.hexdigest() != entry.sha256:
        raise checkpoint.Damaged(f"{source / entry.name}: is damaged (its SHA-256 is not the manifest's)")


def write_manifest(folder: Path, text: str) -> None:
    """Write the manifest of files that are there, or another one in its place, and flush it and the folder to disk."""
    partial = folder / f"{checkpoint.MANIFEST_FILE}.partial"
    with partial.open("wb") as file:
        file.write(checkpoint.sealed(text))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / checkpoint.MANIFEST_FILE)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def head_name(first_class: int) -> str:
    """File of the centres from `first_class` on."""
    return f"head-{first_class:09d}.safetensors"


def reshard(folder: Path, ranks: int, directory: Path) -> Path:
    """Write the state of a checkpoint with its head in a file for each of so many ranks.

    Args:
        folder: the checkpoint, which stays as it is.
        ranks: files of the head; each is held in memory, one at a time.
        directory: folder of checkpoints that takes the new one.

    Returns:
        The new checkpoint, which has been read back and compared with the old one.

    Raises:
        InvalidInput: where the checkpoint is damaged, or the new one is there or cannot be written.
        ArcFaceError: where a disk refuses and may not later.
    """
    manifest = checkpoint.read_manifest(folder)
    final = directory / checkpoint.folder_name(manifest.step)
    _check_known(folder, manifest, ranks)
    with _hidden_folder(final) as hidden:
        entries = manifest.common_part
        for entry in entries:
            copy_file(folder, hidden, entry)
        ranges = [checkpoint.class_range(manifest.class_count, ranks, rank) for rank in range(ranks)]
        for classes in ranges:
            rows = checkpoint.head_rows(folder, manifest, classes)
            entry = write_tensors(hidden / head_name(classes.start), rows)
            entries.append(entry.model_copy(update={"first_class": classes.start}))
        # As it was read, so that what a newer release has added is not lost.
        document = json.loads((folder / checkpoint.MANIFEST_FILE).read_bytes())
        document.pop("checksum", None)
        document |= {"worldSize": ranks, "files": [json.loads(entry.to_json()) for entry in entries]}
        write_manifest(hidden, json.dumps(document))
        _check_same(folder, hidden, ranges)
    return final


def _check_known(folder: Path, manifest: checkpoint.CheckpointManifest, ranks: int) -> None:
    """InvalidInput where the checkpoint is damaged or more than this release knows, or there are too many ranks."""
    if not 1 <= ranks <= manifest.class_count:
        raise InvalidInput(f"--ranks {ranks}: must be 1 to {manifest.class_count}, the number of classes in {folder}")
    for damage in checkpoint.damages(folder, manifest):
        raise InvalidInput(damage)
    for entry in manifest.files:
        if entry.first_class is not None and entry.tensors.keys() != set(checkpoint.HEAD_TENSORS):
            raise InvalidInput(
                f"{folder / entry.name}: holds {', '.join(entry.tensors)}: use the release that wrote it"
            )


@contextmanager
def _hidden_folder(final: Path) -> Iterator[Path]:
    """A new folder that becomes `final` at the end, or goes away."""
    remedy = "free space, mend its rights or name another folder with -o"
    with explained(final, "cannot be written", remedy):
        if final.exists():
            raise InvalidInput(f"{final}: is there already; name another folder with -o")
        final.parent.mkdir(parents=True, exist_ok=True)
        hidden = final.parent / f"{HIDDEN}{token_hex(4)}"
        hidden.mkdir()
        try:
            yield hidden
            hidden.rename(final)
            sync_folder(final.parent)
        except SafetensorError as error:
            raise ArcFaceError(f"{final}: cannot be written ({error}): {remedy}") from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _check_same(folder: Path, hidden: Path, ranges: list[checkpoint.ClassRange]) -> None:
    """ArcFaceError where what was written is not what was read: memory or disk have failed."""
    old, new = checkpoint.read_manifest(folder), checkpoint.read_manifest(hidden)
    for damage in checkpoint.damages(hidden, new):
        raise ArcFaceError(f"what was written does not read back: {damage}")
    for classes in ranges:
        before, after = (checkpoint.head_rows(*source, classes) for source in ((folder, old), (hidden, new)))
        if not all(np.array_equal(before[name], after[name]) for name in before):
            raise ArcFaceError(f"{hidden}: the classes from {classes.start} on are not those of {folder}: try again")
