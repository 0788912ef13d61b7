"""Checkpoints as files: folders `step-00002000` with safetensors files and a `manifest.json` that describes them.

A checkpoint is published by renaming a finished folder, so a folder with the right name is complete unless the disk
lost something: sizes are checked when it is looked for, hashes when it is read.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, model_validator
from safetensors import SafetensorError, safe_open

from arcface_api.errors import InvalidInput, explained
from arcface_api.model import Model
from arcface_api.resource.spec import ModelSpec
from arcface_api.resource.status import Verification
from arcface_faces.images import OWN_PREPROCESSING, Preprocessing

MANIFEST_FILE = "manifest.json"
FORMAT: Final = "arcface-checkpoint/1"
Sha256 = str
FOLDER = re.compile(r"step-(\d{8,})")
BACKBONE_FILE = "backbone.safetensors"
MOMENTUM_FILE = "momentum.safetensors"
REMEDY = "use another checkpoint"
Tensors = dict[str, NDArray[np.float32]]


class ClassRange(NamedTuple):
    """Block of classes that a rank holds."""

    start: int
    size: int


def class_range(class_count: int, world_size: int, rank: int) -> ClassRange:
    """Contiguous blocks, the first `class_count % world_size` ranks hold one class more (Partial FC's rule)."""
    size, rest = divmod(class_count, world_size)
    return ClassRange(size * rank + min(rank, rest), size + (rank < rest))


class TensorEntry(Model):
    """Shape and type of a stored tensor."""

    shape: list[int]
    """Extents."""
    dtype: Literal["float32"] = "float32"
    """Element type."""


class FileEntry(Model):
    """A safetensors file of the checkpoint."""

    name: str = Field(pattern=r"^[a-z0-9-]+\.safetensors$")
    """File name within the folder."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the file."""
    first_class: int | None = Field(default=None, ge=0)
    """First class whose centre the file holds; absent for files of the backbone."""
    tensors: dict[str, TensorEntry]
    """Tensors by name."""

    @property
    def class_count(self) -> int:
        """Classes whose centres the file holds."""
        return self.tensors["centers"].shape[0] if "centers" in self.tensors else 0


class LossScale(Model):
    """Where the dynamic loss scale of a float16 training stood."""

    scale: float = Field(gt=0)
    """Factor on the loss before differentiation."""
    good_steps: int = Field(ge=0)
    """Steps without an overflow since it last changed."""


class SourceCheckpoint(Model):
    """The checkpoint that a training began with, instead of fresh weights."""

    job: str
    """Name of the job that wrote it."""
    step: int = Field(ge=0)
    """Updates before it."""
    sha256: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of its manifest, which holds the hashes of all its files."""
    head: Literal["kept", "means"]
    """Whether its class centres were kept, or made anew as the means of the classes' embeddings."""


class CheckpointManifest(Model):
    """One checkpoint: everything needed to go on with the training or to use the network."""

    format: Literal["arcface-checkpoint/1"] = FORMAT
    """Version of this layout."""
    job: str
    """Name of the job."""
    spec_hash: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of what decides the weights."""
    recipe: dict[str, JsonValue] | None = None
    """What decides the weights, by name; absent from what older releases wrote."""
    step: int = Field(ge=0)
    """Updates made; with seed and total batch this is also the position in the data and in the schedule."""
    total_steps: int = Field(ge=1)
    """Updates of the whole training."""
    epoch: int = Field(ge=0)
    """Epochs completed."""
    total_batch_size: int = Field(ge=1)
    """Images per update over all ranks."""
    world_size: int = Field(ge=1)
    """Ranks that wrote it; another number may read it."""
    seed: int = Field(ge=0)
    """Seed of the data order."""
    image_count: int = Field(ge=1)
    """Images of the training set."""
    class_count: int = Field(ge=1)
    """Identities of the training set."""
    saved_at: datetime
    """When it was written."""
    verification: Verification | None = None
    """Last verification of the training so far."""
    best: Verification | None = None
    """The best one, which names by its step the checkpoint that is kept beside the newest ones."""
    loss_scale: LossScale | None = None
    """Dynamic loss scale; absent where the precision needs none, and in what older releases wrote."""
    model: ModelSpec
    """The network."""
    source: SourceCheckpoint | None = None
    """What was fine-tuned; absent where the weights began fresh."""
    preprocessing: Preprocessing = OWN_PREPROCESSING
    """The network's input, which is the same for all networks that are trained here."""
    files: list[FileEntry]
    """Tensors: `backbone` (weights), `momentum` (its optimizer state) and `head-<first class>` (centres, momentum)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preprocessing != OWN_PREPROCESSING:
            raise ValueError(f"preprocessing must be {OWN_PREPROCESSING.to_json()}: no other is carried out")
        return self


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
    manifest = CheckpointManifest.from_ours(text, str(path))
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
