"""The state of a training, and its checkpoints: every rank writes its block of class centres, rank 0 the rest.

The state is what changes while training: weights, running statistics, momentum, the rank's class centres, as host
arrays under names that do not depend on ranks or on how the network is wrapped.

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

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces import checkpoint
from arcface_faces.checkpoint import CheckpointManifest, FileEntry, LossScale, TensorEntry, Tensors
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import STATISTICS_SUFFIXES, assign, check_fit, host_arrays, named_parameters
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.train_step import TrainStep

HIDDEN = ".writing-"
DAMAGED = "damaged-"


class TrainingState:
    """Reads and replaces the state of a training step."""

    def __init__(self, train_step: TrainStep) -> None:
        gradient_step = train_step.gradient_step
        self._backbone = named_parameters(gradient_step.backbone)
        self._weights = {name: weight for name, weight in self._backbone.items() if weight.requires_grad}
        self._centers = {"centers": gradient_step.classifier.centers}
        self._update = train_step.update
        self._loss_scale = train_step.loss_scale

    def backbone(self, world: World) -> Tensors:
        """Weights, and running statistics averaged over ranks: the network that a checkpoint holds.

        Each rank tracks the statistics of its own images. Their update is linear, so averaging now and going on from
        the average gives the same averages later as never having stopped.
        """
        arrays = host_arrays(self._backbone)
        statistics = [name for name in arrays if name.endswith(STATISTICS_SUFFIXES)]
        mean = world.all_mean(np.concatenate([arrays[name].ravel() for name in statistics]))
        offset = 0
        for name in statistics:
            shape, size = arrays[name].shape, arrays[name].size
            arrays[name] = mean[offset : offset + size].reshape(shape)
            offset += size
        return arrays

    def momentum(self) -> Tensors:
        """Momentum of the backbone's weights by their names."""
        return self._update.host_momentum(self._weights)

    def head(self) -> Tensors:
        """This rank's `centers` and their `momentum`."""
        momentum = self._update.host_momentum(self._centers)["centers"]
        return {**host_arrays(self._centers), "momentum": momentum}

    def loss_scale(self) -> LossScale | None:
        """The dynamic loss scale; None where the precision needs none."""
        return None if self._loss_scale is None else self._loss_scale.save()

    def load_loss_scale(self, saved: LossScale | None) -> None:
        """Go on from a checkpoint's loss scale; from a fresh one where it has none."""
        if self._loss_scale is not None and saved is not None:
            self._loss_scale.load(saved)

    def load(self, backbone: Tensors, momentum: Tensors, head: Tensors, source: str) -> None:
        """Go on from these arrays; InvalidInput, naming `source`, where names or shapes are others."""
        centers = self._centers["centers"]
        check_fit(self._weights, momentum, source)
        check_fit({"centers": centers, "momentum": centers}, head, source)
        assign(self._backbone, backbone, source)
        assign(self._centers, {"centers": head["centers"]}, source)
        self._update.assign_momentum(self._weights, momentum)
        self._update.assign_momentum(self._centers, {"centers": head["momentum"]})


@dataclass(frozen=True, slots=True)
class CheckpointWriter:
    """Saves the state of all ranks into one directory."""

    settings: RunCheckpoint
    plan: TrainingPlan
    world: World

    @property
    def directory(self) -> Path:
        """Folder of this job's checkpoints."""
        return Path(self.settings.directory)

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
        hidden = self.directory / f"{HIDDEN}{checkpoint.folder_name(step)}"
        hidden.mkdir(parents=True, exist_ok=True)
        backbone = state.backbone(self.world)
        heads = self._head_entries(self._write_head(hidden, state.head()))
        if not self.world.is_first:
            return None
        shared = {checkpoint.BACKBONE_FILE: backbone, checkpoint.MOMENTUM_FILE: state.momentum()}
        files = [write_tensors(hidden / name, tensors) for name, tensors in shared.items()]
        manifest = self.plan.manifest(step, [*files, *heads], verification, best, state.loss_scale())
        return status_of(self._publish(hidden, manifest), manifest, self.settings)

    def _write_head(self, hidden: Path, head: Tensors) -> FileEntry:
        classes = checkpoint.class_range(self.plan.class_count, self.world.size, self.world.rank)
        entry = write_tensors(hidden / head_name(classes.start), head)
        return entry.model_copy(update={"first_class": classes.start})

    def _head_entries(self, own: FileEntry) -> list[FileEntry]:
        """Entries of all ranks' heads: only hash and size travel, the rest follows from the rank."""
        words = np.frombuffer(bytes.fromhex(own.sha256), ">i4").astype(int).tolist()
        rows = self.world.all_gather([*words, own.size >> 31, own.size & 0x7FFFFFFF])
        entries = []
        for rank, row in enumerate(rows):
            start, size = checkpoint.class_range(self.plan.class_count, self.world.size, rank)
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
        with (hidden / checkpoint.MANIFEST_FILE).open("wb") as file:
            file.write(manifest.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(hidden)
        final = self.directory / checkpoint.folder_name(manifest.step)
        if final.exists():  # only a damaged one can be there: a sound one would have been resumed from
            shutil.rmtree(final)
        hidden.rename(final)
        _sync_folder(self.directory)
        self._set_newer_aside(manifest.step)
        best = None if manifest.best is None else checkpoint.folder_name(manifest.best.step)
        for old in checkpoint.checkpoints(self.directory)[self.settings.keep_last :]:
            if old.name != best:
                shutil.rmtree(old, ignore_errors=True)
        return final

    def _set_newer_aside(self, step: int) -> None:
        """Rename checkpoints beyond this step: the run passed them over as damaged when it resumed.

        Left as they are they would count as the newest ones, and `keep_last` would remove this one in their favour.
        """
        for folder in checkpoint.checkpoints(self.directory):
            if checkpoint.step_of(folder) > step:
                aside = folder.with_name(f"{DAMAGED}{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)


def status_of(folder: Path, manifest: CheckpointManifest, settings: RunCheckpoint) -> CheckpointStatus:
    """What reports tell of a published checkpoint."""
    return CheckpointStatus(
        path=settings.path_of(folder),
        step=manifest.step,
        saved_at=manifest.saved_at,
        sha256=checkpoint.manifest_sha256(folder),
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
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=checkpoint.file_sha256(path), tensors=shapes)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
