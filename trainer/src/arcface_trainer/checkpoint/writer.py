"""Writes checkpoints: every rank its block of class centres, rank 0 the rest; published by one rename.

Files are written and flushed to disk in a hidden folder, then the ranks exchange the hashes (which also waits for the
slowest), rank 0 writes the manifest and renames the folder. A crash before the rename leaves no checkpoint, a crash
after it a whole one.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces.checkpoint import reader
from arcface_faces.checkpoint.class_shard import class_range
from arcface_faces.checkpoint.manifest import MANIFEST_FILE, CheckpointManifest, FileEntry, TensorEntry
from arcface_faces.checkpoint.reader import BACKBONE_FILE, MOMENTUM_FILE, Tensors, folder_name
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import World
from arcface_trainer.plan import TrainingPlan

HIDDEN = ".writing-"
DAMAGED = "damaged-"


@dataclass(frozen=True, slots=True)
class CheckpointWriter:
    """Saves the state of all ranks into one directory."""

    directory: Path
    keep_last: int
    """Newest checkpoints that stay, beside the best one."""
    plan: TrainingPlan
    world: World

    def prepare(self) -> None:
        """Remove what a killed run left half-written; rank 0 calls it before any rank saves.

        InvalidInput where the directory cannot be written to, so that it is told before the first step.
        """
        remedy = f"the folder must be writable for user {os.getuid()}, mend its rights or choose another one for "
        with explained(self.directory, "checkpoints cannot be written", remedy + "spec.checkpoint"):
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{HIDDEN}*"):
                shutil.rmtree(leftover)
            probe = self.directory / f"{HIDDEN}probe"
            probe.mkdir()
            probe.rmdir()

    def save(
        self,
        state: TrainingState,
        step: int,
        verification: Verification | None = None,
        best: Verification | None = None,
    ) -> CheckpointStatus | None:
        """Write and publish the checkpoint of `step` updates with the last and the best verification so far.

        All ranks call together; the first one gets the checkpoint's status, the others None.

        Raises:
            ArcFaceError: where the disk refuses, whatever the reason, since the run could write before.
        """
        try:
            status = self._save(state, step, verification, best)
        except (OSError, SafetensorError, InvalidInput) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
            raise ArcFaceError(
                f"{self.directory}: the checkpoint of step {step} cannot be written ({reason}): free space or mend the "
                "volume"
            ) from error
        # No rank goes on before the checkpoint is there: a rank that ended earlier could take rank 0 down with it.
        self.world.all_gather([step])
        return status

    def _save(
        self, state: TrainingState, step: int, verification: Verification | None, best: Verification | None
    ) -> CheckpointStatus | None:
        hidden = self.directory / f"{HIDDEN}{folder_name(step)}"
        hidden.mkdir(parents=True, exist_ok=True)
        backbone = state.backbone(self.world)
        heads = self._head_entries(self._write_head(hidden, state.head()))
        if not self.world.is_first:
            return None
        shared = {BACKBONE_FILE: backbone, MOMENTUM_FILE: state.momentum()}
        files = [write_tensors(hidden / name, tensors) for name, tensors in shared.items()]
        manifest = self.plan.manifest(step, [*files, *heads], verification, best)
        return status_of(self._publish(hidden, manifest), manifest)

    def _write_head(self, hidden: Path, head: Tensors) -> FileEntry:
        classes = class_range(self.plan.class_count, self.world.size, self.world.rank)
        entry = write_tensors(hidden / head_name(classes.start), head)
        return entry.model_copy(update={"first_class": classes.start})

    def _head_entries(self, own: FileEntry) -> list[FileEntry]:
        """Entries of all ranks' heads: only hash and size travel, the rest follows from the rank."""
        words = np.frombuffer(bytes.fromhex(own.sha256), ">i4").astype(int).tolist()
        rows = self.world.all_gather([*words, own.size >> 31, own.size & 0x7FFFFFFF])
        entries = []
        for rank, row in enumerate(rows):
            start, size = class_range(self.plan.class_count, self.world.size, rank)
            shape = TensorEntry(shape=[size, self.plan.model.embedding_size])
            entry = FileEntry(
                name=head_name(start),
                size=int(row[8]) << 31 | int(row[9]),
                sha256=row[:8].astype(">i4").tobytes().hex(),
                first_class=start,
                tensors={"centers": shape, "momentum": shape},
            )
            entries.append(entry)
        return entries

    def _publish(self, hidden: Path, manifest: CheckpointManifest) -> Path:
        with (hidden / MANIFEST_FILE).open("wb") as file:
            file.write(manifest.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(hidden)
        final = self.directory / folder_name(manifest.step)
        if final.exists():  # only a damaged one can be there: a sound one would have been resumed from
            shutil.rmtree(final)
        hidden.rename(final)
        _sync_folder(self.directory)
        self._set_newer_aside(manifest.step)
        best = None if manifest.best is None else folder_name(manifest.best.step)
        for old in reader.checkpoints(self.directory)[self.keep_last :]:
            if old.name != best:
                shutil.rmtree(old, ignore_errors=True)
        return final

    def _set_newer_aside(self, step: int) -> None:
        """Rename checkpoints beyond this step: the run passed them over as damaged when it resumed.

        Left as they are they would count as the newest ones, and `keep_last` would remove this one in their favour.
        """
        for folder in reader.checkpoints(self.directory):
            if reader.step_of(folder) > step:
                aside = folder.with_name(f"{DAMAGED}{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)


def status_of(folder: Path, manifest: CheckpointManifest, resumed_from_step: int | None = None) -> CheckpointStatus:
    """What reports tell of a published checkpoint."""
    return CheckpointStatus(
        path=folder.name,
        step=manifest.step,
        saved_at=manifest.saved_at,
        sha256=reader.manifest_sha256(folder),
        resumed_from_step=resumed_from_step,
    )


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
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=reader.file_sha256(path), tensors=shapes)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
