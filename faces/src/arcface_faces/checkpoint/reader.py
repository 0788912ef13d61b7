"""Finds and reads checkpoints: folders `step-00002000` with safetensors files and a manifest.

A checkpoint is published by renaming a finished folder, so a folder with the right name is complete unless the disk
lost something: sizes are checked when it is looked for, hashes when it is read.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from arcface_api.errors import InvalidInput, explained
from arcface_faces.checkpoint.class_shard import ClassRange
from arcface_faces.checkpoint.manifest import MANIFEST_FILE, CheckpointManifest, FileEntry

FOLDER = re.compile(r"step-(\d{8,})")
BACKBONE_FILE = "backbone.safetensors"
MOMENTUM_FILE = "momentum.safetensors"
REMEDY = "use another checkpoint"

Tensors = dict[str, NDArray[np.float32]]


def folder_name(step: int) -> str:
    """Name of the checkpoint taken after `step` updates."""
    return f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Updates before a checkpoint, from its folder's name; -1 where that is no checkpoint's."""
    found = FOLDER.fullmatch(folder.name)
    return int(found[1]) if found else -1


def checkpoints(directory: Path) -> list[Path]:
    """Folders named like checkpoints, newest first."""
    with explained(directory, "cannot be listed", "correct the path or give this user the right to read it"):
        if not directory.is_dir():
            return []
        return sorted((path for path in directory.iterdir() if step_of(path) >= 0), key=step_of, reverse=True)


def complete_checkpoints(directory: Path) -> Iterator[tuple[Path, CheckpointManifest]]:
    """Checkpoints whose manifest can be read and whose files have the right sizes, newest first."""
    for folder in checkpoints(directory):
        try:
            yield folder, read_manifest(folder)
        except InvalidInput:
            continue


def checkpoint_folder(given: Path) -> Path:
    """The folder itself where it is a checkpoint, else the newest complete one inside."""
    with explained(given, "cannot be looked into", "correct the path or give this user the right to read it"):
        is_folder, has_manifest = given.is_dir(), (given / MANIFEST_FILE).is_file()
    if not is_folder:
        raise InvalidInput(f"{given}: is no folder; give a checkpoint or the folder of a job's checkpoints")
    if has_manifest:
        return given
    if (newest := newest_complete(given)) is None:
        raise InvalidInput(f"{given}: holds no complete checkpoint; train until one is saved")
    return newest


def newest_complete(directory: Path) -> Path | None:
    """Newest complete checkpoint, None where there is none."""
    return next((folder for folder, _ in complete_checkpoints(directory)), None)


def read_manifest(folder: Path) -> CheckpointManifest:
    """Manifest of a checkpoint; InvalidInput where it is damaged or a file is missing or has another size."""
    path = folder / MANIFEST_FILE
    with explained(path, "cannot be read", "name a complete checkpoint"):
        text = path.read_bytes()
    manifest = CheckpointManifest.from_json(text, str(path))
    for entry in manifest.files:
        file = folder / entry.name
        with explained(file, "cannot be read", REMEDY):
            size = file.stat().st_size if file.is_file() else -1
        if size != entry.size:
            found = "is missing" if size < 0 else f"has {size} bytes instead of {entry.size}"
            raise InvalidInput(f"{file}: {found}: use another checkpoint")
    return manifest


def manifest_sha256(folder: Path) -> str:
    """Hash of the manifest, which holds the hashes of all files."""
    return file_sha256(folder / MANIFEST_FILE)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with explained(path, "cannot be read", REMEDY), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(folder: Path, manifest: CheckpointManifest, name: str) -> Tensors:
    """All tensors of one file after checking its hash; InvalidInput where it is damaged."""
    entry = _entry(folder, manifest, name)
    with _open_verified(folder, entry) as file:
        return {tensor: file.get_tensor(tensor) for tensor in entry.tensors}


def read_head(folder: Path, manifest: CheckpointManifest, classes: ClassRange) -> Tensors:
    """Centres and their momentum of a block of classes, whatever number of ranks wrote them.

    Returns:
        `centers` and `momentum`, both (classes.size, D) float32.
    """
    rows: dict[str, list[NDArray[np.float32]]] = {"centers": [], "momentum": []}
    stop = classes.start + classes.size
    covered = 0
    heads = [(entry.first_class, entry) for entry in manifest.files if entry.first_class is not None]
    for first, entry in sorted(heads, key=lambda head: head[0]):
        low, high = max(classes.start, first), min(stop, first + entry.class_count)
        if low >= high:
            continue
        with _open_verified(folder, entry) as file:
            for name, blocks in rows.items():
                blocks.append(file.get_slice(name)[low - first : high - first])
        covered += high - low
    if covered != classes.size:
        raise InvalidInput(f"{folder}: holds {covered} of the classes {classes.start} to {stop - 1}: damaged manifest")
    return {name: np.concatenate(blocks) for name, blocks in rows.items()}


def _entry(folder: Path, manifest: CheckpointManifest, name: str) -> FileEntry:
    for entry in manifest.files:
        if entry.name == name:
            return entry
    raise InvalidInput(f"{folder / MANIFEST_FILE}: lists no file {name}: use another checkpoint")


@contextmanager
def _open_verified(folder: Path, entry: FileEntry) -> Iterator[Any]:
    """An open safetensors file with the hash and the tensors that the manifest announces."""
    path = folder / entry.name
    if file_sha256(path) != entry.sha256:
        raise InvalidInput(f"{path}: is damaged (its SHA-256 is not the manifest's): use another checkpoint")
    try:
        with explained(path, "cannot be read", REMEDY), safe_open(path, framework="np") as file:
            for name, tensor in entry.tensors.items():
                stored = file.get_slice(name)
                if stored.get_shape() != tensor.shape or stored.get_dtype() != "F32":
                    raise InvalidInput(f"{path}: tensor {name} is not float32 {tensor.shape}: use another checkpoint")
            yield file
    except SafetensorError as error:
        raise InvalidInput(f"{path}: is not a safetensors file with the announced tensors ({error})") from error
