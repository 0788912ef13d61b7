"""Writes checkpoints: every rank its block of class centres, rank 0 the rest; published by one rename.

Files are written and flushed to disk in a hidden folder, then the ranks exchange the hashes (which also waits for the
slowest), rank 0 writes the manifest and renames the folder. A crash before the rename leaves no checkpoint, a crash
after it a whole one.
"""

import os
import shutil
from dataclasses import dataclass
from errno import EACCES, EEXIST, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, EROFS
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.status import CheckpointStatus
from arcface_faces.checkpoint.class_shard import class_range
from arcface_faces.checkpoint.manifest import MANIFEST_FILE, CheckpointManifest, FileEntry, TensorEntry
from arcface_faces.checkpoint.reader import (
    BACKBONE_FILE,
    MOMENTUM_FILE,
    Tensors,
    checkpoints,
    file_sha256,
    folder_name,
    manifest_sha256,
    step_of,
)
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.world import World

LASTING = {EACCES, EPERM, EROFS, ENOTDIR, ENOENT, EEXIST, ELOOP, ENAMETOOLONG}
"""Errors that no retry cures."""
HIDDEN = ".writing-"
DAMAGED = "damaged-"


@dataclass(frozen=True, slots=True)
class CheckpointWriter:
    """Saves the state of all ranks into one directory."""

    directory: Path
    keep_last: int
    world: World

    def prepare(self) -> None:
        """Remove what a killed run left half-written; rank 0 calls it before any rank saves.

        InvalidInput where the directory cannot be written to, so that it is told before the first step.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{HIDDEN}*"):
                shutil.rmtree(leftover)
            probe = self.directory / f"{HIDDEN}probe"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            kind = InvalidInput if error.errno in LASTING else ArcFaceError
            raise kind(
                f"{self.directory}: checkpoints cannot be written ({error.strerror}): the folder must be writable for "
                f"user {os.getuid()}, mend its rights or choose another one for spec.checkpoint"
            ) from error

    def save(self, state: TrainingState, manifest: CheckpointManifest) -> CheckpointStatus:
        """Write and publish a checkpoint; `manifest` comes without files. All ranks call together.

        ArcFaceError where the disk refuses.
        """
        try:
            return self._save(state, manifest)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
            raise ArcFaceError(
                f"{self.directory}: the checkpoint of step {manifest.step} cannot be written ({reason}): free space or "
                "mend the volume"
            ) from error

    def _save(self, state: TrainingState, manifest: CheckpointManifest) -> CheckpointStatus:
        hidden = self.directory / f"{HIDDEN}{folder_name(manifest.step)}"
        hidden.mkdir(parents=True, exist_ok=True)
        backbone = state.backbone(self.world)
        head = state.head()
        head_entry = self._write_head(hidden, head, manifest.class_count)
        entries = self._head_entries(head_entry, manifest)
        if self.world.is_first:
            files = [write(hidden / BACKBONE_FILE, backbone), write(hidden / MOMENTUM_FILE, state.momentum())]
            self._publish(hidden, manifest.model_copy(update={"files": [*files, *entries]}))
        # No rank goes on before the checkpoint is there: a rank that ended earlier could take rank 0 down with it.
        self.world.gather([manifest.step])
        return self._status(manifest)

    def _write_head(self, hidden: Path, head: Tensors, class_count: int) -> FileEntry:
        classes = class_range(class_count, self.world.size, self.world.rank)
        entry = write(hidden / head_name(classes.start), head)
        return entry.model_copy(update={"first_class": classes.start})

    def _head_entries(self, own: FileEntry, manifest: CheckpointManifest) -> list[FileEntry]:
        """Entries of all ranks' heads: only hash and size travel, the rest follows from the rank."""
        words = np.frombuffer(bytes.fromhex(own.sha256), ">i4").astype(int).tolist()
        rows = self.world.gather([*words, own.size >> 31, own.size & 0x7FFFFFFF])
        entries = []
        for rank, row in enumerate(rows):
            start, size = class_range(manifest.class_count, self.world.size, rank)
            shape = TensorEntry(shape=[size, manifest.model.embedding_size])
            entry = FileEntry(
                name=head_name(start),
                size=int(row[8]) << 31 | int(row[9]),
                sha256=row[:8].astype(">i4").tobytes().hex(),
                first_class=start,
                tensors={"centers": shape, "momentum": shape},
            )
            entries.append(entry)
        return entries

    def _publish(self, hidden: Path, manifest: CheckpointManifest) -> None:
        with (hidden / MANIFEST_FILE).open("wb") as file:
            file.write(manifest.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(hidden)
        final = self.directory / folder_name(manifest.step)
        if final.exists():  # only a damaged one can be there: a sound one would have been resumed from
            shutil.rmtree(final)
        hidden.rename(final)
        sync_folder(self.directory)
        self._set_newer_aside(manifest.step)
        best = None if manifest.best is None else folder_name(manifest.best.step)
        for old in checkpoints(self.directory)[self.keep_last :]:
            if old.name != best:
                shutil.rmtree(old, ignore_errors=True)

    def _set_newer_aside(self, step: int) -> None:
        """Rename checkpoints beyond this step: the run passed them over as damaged when it resumed.

        Left as they are they would count as the newest ones, and `keep_last` would remove this one in their favour.
        """
        for folder in checkpoints(self.directory):
            if step_of(folder) > step:
                aside = folder.with_name(f"{DAMAGED}{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)

    def _status(self, manifest: CheckpointManifest) -> CheckpointStatus:
        name = folder_name(manifest.step)
        return CheckpointStatus(
            path=name,
            step=manifest.step,
            saved_at=manifest.saved_at,
            sha256=manifest_sha256(self.directory / name),
        )


def head_name(first_class: int) -> str:
    """File of the centres from `first_class` on."""
    return f"head-{first_class:09d}.safetensors"


def write(path: Path, tensors: Tensors) -> FileEntry:
    """Write tensors and flush them to disk."""
    save_file(tensors, path)
    # It writes for its user alone; whoever may read the folder may read what is in it.
    path.chmod(path.parent.stat().st_mode & 0o666)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    shapes = {name: TensorEntry(shape=list(array.shape)) for name, array in tensors.items()}
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path), tensors=shapes)


def one_line(error: Exception) -> str:
    """Text of an error without line breaks."""
    return " ".join(str(error).split())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
