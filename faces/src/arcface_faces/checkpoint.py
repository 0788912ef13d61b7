"""Checkpoints as files: folders `step-00002000` with safetensors files and a `manifest.json` that describes them.

A checkpoint is published by renaming a finished folder, so a folder with the right name is complete unless the disk
lost something: sizes are checked when it is looked for, hashes when it is read.
"""

import errno
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, model_validator
from safetensors import SafetensorError, safe_open

from arcface_api.errors import InvalidInput, explained, persistently
from arcface_api.model import Model
from arcface_api.resource import spec, status
from arcface_faces.images import OWN_PREPROCESSING, Preprocessing
from arcface_faces.positioned_file import open_regular, read_regular

MANIFEST_FILE = "manifest.json"
FORMAT: Final = "arcface-checkpoint/1"
Sha256 = str
FOLDER = re.compile(r"step-(\d{8,})")
_SEAL = re.compile(rb'\{"checksum":"([^"]*)",')
"""How the text of a manifest begins, since this release."""
_UNSEALED = b'{"format":'
"""How it began before."""
BACKBONE_FILE = "backbone.safetensors"
MOMENTUM_FILE = "momentum.safetensors"
HEAD_TENSORS = ("centers", "momentum")
REMEDY = "use another checkpoint"
Tensors = dict[str, NDArray[np.float32]]
T = TypeVar("T")


class Damaged(InvalidInput):
    """A checkpoint is not what was written: a file is surely absent, or bytes that were read are others.

    Whoever meets it may turn to an older checkpoint. What only cannot be read (rights, descriptors, a disk that
    hiccups) or understood (of another release) may well be sound, and is another error.
    """


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
        shape = self.tensors["centers"].shape if "centers" in self.tensors else []
        return shape[0] if shape else 0


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


class RollBack(Model):
    """The one time that a training went back to a checkpoint, since its numbers had gone wrong."""

    cause: str
    """The tensor, the rank and the step that it began with."""
    from_step: int = Field(ge=0)
    """Updates before the first step that went wrong."""
    to_step: int = Field(ge=0)
    """Updates of the checkpoint that it went back to."""
    skipped_batches: int = Field(ge=0)
    """Batches that were left out there: update n trains on batch n + `skippedBatches` of the order since then."""
    rate_factor: float = Field(gt=0, le=1)
    """On the schedule's learning rate since then."""

    @property
    def in_words(self) -> str:
        """A line for people."""
        return (
            f"went back from step {self.from_step} to {self.to_step}, past {self.skipped_batches} batches and with "
            f"{self.rate_factor:g} times the learning rate: {self.cause}"
        )


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
    data_fingerprint: Sha256 | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """What tells the training set from others; absent from what older releases wrote."""
    content_fingerprint: Sha256 | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The same with the sizes of a folder's images, of which older releases knew nothing."""
    saved_at: datetime
    """When it was written."""
    verification: status.Verification | None = None
    """Last verification of the training so far."""
    best: status.Verification | None = None
    """The best one, which names by its step the checkpoint that is kept beside the newest ones."""
    loss_scale: LossScale | None = None
    """Dynamic loss scale; absent where the precision needs none, and in what older releases wrote."""
    roll_back: RollBack | None = None
    """That of this training, of which there is one at most; absent while there was none."""
    model: spec.ModelSpec
    """The network."""
    source: SourceCheckpoint | None = None
    """What was fine-tuned; absent where the weights began fresh."""
    preprocessing: Preprocessing = OWN_PREPROCESSING
    """The network's input, which is the same for all networks that are trained here."""
    files: list[FileEntry]
    """Tensors: `backbone` (weights), `momentum` (its optimizer state) and `head-<first class>` (centres, momentum)."""

    @property
    def heads(self) -> list[FileEntry]:
        """Files of class centres."""
        return [entry for entry in self.files if entry.first_class is not None]

    @property
    def common_part(self) -> list[FileEntry]:
        """Files of what all ranks have alike; none in a manifest of a rank that keeps them not."""
        return sorted((entry for entry in self.files if entry.first_class is None), key=lambda entry: entry.name)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preprocessing != OWN_PREPROCESSING:
            raise ValueError(f"preprocessing must be {OWN_PREPROCESSING.to_json()}: no other is carried out")
        if any(found is not None and not found.results for found in (self.verification, self.best)):
            raise ValueError("a verification names no set")
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
        try:
            return sorted((path for path in directory.iterdir() if step_of(path) >= 0), key=step_of, reverse=True)
        except (FileNotFoundError, NotADirectoryError):
            return []


def complete_checkpoints(directory: Path) -> Iterator[tuple[Path, CheckpointManifest]]:
    """Checkpoints whose manifest is whole and whose files have the right sizes, newest first.

    ArcFaceError, InvalidInput where one cannot be read: it is not passed over.
    """
    for folder in checkpoints(directory):
        try:
            yield folder, read_manifest(folder)
        except Damaged:
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
    """Manifest of a checkpoint; Damaged where it is, or a file is missing or has another size."""
    manifest = parse_manifest(folder)
    for entry in manifest.files:
        _check_size(folder, entry)
    return manifest


def parse_manifest(folder: Path) -> CheckpointManifest:
    """Manifest of a checkpoint, whose files are not looked for.

    Raises:
        Damaged: where it is missing or not what was written.
        InvalidInput: where it cannot be read, or is of another step or of a release that this one does not know.
        ArcFaceError: where it cannot be read now but may be later.
    """
    path = folder / MANIFEST_FILE
    text = _read(path, read_regular)
    manifest = _from_sealed(text, path)
    if step_of(folder.absolute()) not in {-1, manifest.step}:
        raise InvalidInput(f"{path}: is of step {manifest.step}: name the folder {folder_name(manifest.step)} again")
    return manifest


def _from_sealed(text: bytes, path: Path) -> CheckpointManifest:
    """What a manifest says; Damaged where its text is not what was written, InvalidInput where its kind is unknown."""
    if (seal := _SEAL.match(text)) is not None:
        if seal[1] != _checksum(text[seal.end() :]):
            raise Damaged(f"{path}: is damaged (its checksum is not that of its text): {REMEDY}")
        return CheckpointManifest.from_ours(text, str(path))
    if not text.startswith(_UNSEALED):
        raise Damaged(f"{path}: is damaged (it does not begin as a manifest does): {REMEDY}")
    try:
        manifest = CheckpointManifest.from_ours(text, str(path))
    except InvalidInput as error:  # nothing says that it is what was written
        raise Damaged(str(error)) from error
    if manifest.data_fingerprint is not None:  # whoever writes it writes a checksum, too
        raise Damaged(f"{path}: is damaged (its checksum is missing): {REMEDY}")
    return manifest


def damages(folder: Path, manifest: CheckpointManifest) -> Iterator[str]:
    """What is wrong with a checkpoint, a sentence for each file, and one where a part is in no file.

    Every byte is read. ArcFaceError, InvalidInput where a file cannot be: that is no damage.
    """
    for entry in manifest.files:
        try:
            _check_size(folder, entry)
            with _open_verified(folder, entry) as file:
                odd = [name for name in entry.tensors if not np.isfinite(file.get_tensor(name)).all()]
        except Damaged as error:
            yield str(error)
        else:
            if odd:
                yield f"{folder / entry.name}: {', '.join(odd)} holds numbers that are not finite: {REMEDY}"
    if absent := {BACKBONE_FILE, MOMENTUM_FILE} - {entry.name for entry in manifest.files}:
        yield f"{folder / MANIFEST_FILE}: lists no {', '.join(sorted(absent))}: {REMEDY}"
    blocks = sorted((entry.first_class, entry.class_count) for entry in manifest.files if entry.first_class is not None)
    ends = [0, *accumulate(count for _, count in blocks)]
    if ends != [*(first for first, _ in blocks), manifest.class_count]:
        yield f"{folder / MANIFEST_FILE}: its files do not hold each of {manifest.class_count} classes once: {REMEDY}"


def sealed(text: str) -> bytes:
    """The text of a manifest behind its own checksum: it has the hashes of all files, and nothing else has its own."""
    content = text.encode().removeprefix(b"{")
    return b'{"checksum":"%b",%b' % (_checksum(content), content)


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def manifest_sha256(folder: Path) -> str:
    """Hash of the manifest, which holds the hashes of all files."""
    return file_sha256(folder / MANIFEST_FILE)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks; Damaged where it is missing."""

    def digest(path: Path) -> str:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _read(path, digest)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` finds in a file, tried again where that may help; Damaged where the file is missing."""

    def read_or_miss() -> T:
        try:
            return read(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Damaged(f"{path}: is missing: {REMEDY}") from error

    return persistently(read_or_miss, path, "cannot be read", REMEDY)


def read_file(folder: Path, manifest: CheckpointManifest, name: str) -> Tensors:
    """All tensors of one file after checking its hash; Damaged where it is."""
    entry = _entry(folder, manifest, name)
    with _open_verified(folder, entry) as file:
        return {tensor: file.get_tensor(tensor) for tensor in entry.tensors}


def read_head(folder: Path, manifest: CheckpointManifest, classes: ClassRange) -> Tensors:
    """Centres and their momentum of a block of classes, whatever number of ranks wrote them.

    Returns:
        `centers` and `momentum`, both (classes.size, D) float32.
    """
    for entry, _ in _heads_within(manifest, classes):
        _check_hash(folder, entry)
    return head_rows(folder, manifest, classes)


def head_rows(folder: Path, manifest: CheckpointManifest, classes: ClassRange) -> Tensors:
    """What `read_head` returns, of files whose hashes have been checked."""
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in HEAD_TENSORS}
    covered = 0
    for entry, part in _heads_within(manifest, classes):
        with _open_tensors(folder, entry) as file:
            for name, blocks in rows.items():
                blocks.append(file.get_slice(name)[part.start : part.start + part.size])
        covered += part.size
    if covered != classes.size:
        stop = classes.start + classes.size
        raise Damaged(f"{folder}: holds {covered} of the classes {classes.start} to {stop - 1}: damaged manifest")
    return {name: np.concatenate(blocks) for name, blocks in rows.items()}


def _heads_within(manifest: CheckpointManifest, classes: ClassRange) -> Iterator[tuple[FileEntry, ClassRange]]:
    """Files with classes of a block, in their order, and which of a file's rows these are."""
    stop = classes.start + classes.size
    heads = [(entry.first_class, entry) for entry in manifest.files if entry.first_class is not None]
    for first, entry in sorted(heads, key=lambda head: head[0]):
        low, high = max(classes.start, first), min(stop, first + entry.class_count)
        if low < high:
            yield entry, ClassRange(low - first, high - low)


def _entry(folder: Path, manifest: CheckpointManifest, name: str) -> FileEntry:
    for entry in manifest.files:
        if entry.name == name:
            return entry
    raise Damaged(f"{folder / MANIFEST_FILE}: lists no file {name}: use another checkpoint")


def _check_size(folder: Path, entry: FileEntry) -> None:
    """Damaged where a file is missing or has another size."""
    path = folder / entry.name
    size = _read(path, lambda file: file.stat().st_size)
    if size != entry.size:
        raise Damaged(f"{path}: has {size} bytes instead of {entry.size}: {REMEDY}")


def _check_hash(folder: Path, entry: FileEntry) -> None:
    """Damaged where a file is not the one that was written."""
    path = folder / entry.name
    if file_sha256(path) != entry.sha256:
        raise Damaged(f"{path}: is damaged (its SHA-256 is not the manifest's): {REMEDY}")


@contextmanager
def _open_verified(folder: Path, entry: FileEntry) -> Iterator[Any]:
    """An open safetensors file with the hash and the tensors that the manifest announces."""
    _check_hash(folder, entry)
    with _open_tensors(folder, entry) as file:
        yield file


@contextmanager
def _open_tensors(folder: Path, entry: FileEntry) -> Iterator[Any]:
    """An open safetensors file with the tensors that the manifest announces."""
    path = folder / entry.name
    try:
        with explained(path, "cannot be read", REMEDY), _read(path, _open_safetensors) as file:
            for name, tensor in entry.tensors.items():
                stored = file.get_slice(name)
                if stored.get_shape() != tensor.shape or stored.get_dtype() != "F32":
                    raise Damaged(f"{path}: tensor {name} is not float32 {tensor.shape}: {REMEDY}")
            yield file
    except SafetensorError as error:
        raise Damaged(f"{path}: is not a safetensors file with the announced tensors ({error})") from error


def _open_safetensors(path: Path) -> Any:
    """A safetensors file; OSError as `open` raises it, where the library knows but one, without a number."""
    with open_regular(path):
        try:
            return safe_open(path, framework="np")
        except FileNotFoundError as error:  # what has just been opened is there: descriptors, or the volume
            raise OSError(errno.EAGAIN, "safetensors could not open it") from error
