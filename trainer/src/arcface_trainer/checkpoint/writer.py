"""The state of a training, and its checkpoints: every rank writes its block of class centres, rank 0 the rest.

The state is what changes while training: weights, running statistics, momentum, the rank's class centres, as host
arrays under names that do not depend on ranks or on how the network is wrapped.

Files are written and flushed to disk in a hidden folder; when those of all ranks are there, rank 0 writes the manifest
and renames the folder. A crash before the rename leaves no checkpoint, a crash after it a whole one. The hidden folder
lies in one that belongs to the job and the gang's attempt (a fencing token). The next gang moves that away when it
starts: whoever is left of a gang that was taken for lost, or of an earlier job of its name, finds no place to write
to any more, and publishes nothing.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import ArcFaceError, explained
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces import checkpoint
from arcface_faces.checkpoint import CheckpointManifest, ClassRange, FileEntry, LossScale, TensorEntry, Tensors
from arcface_trainer.checkpoint.files import head_name, remove_folder, sync_folder, write_tensors
from arcface_trainer.checkpoint.snapshot import Snapshot
from arcface_trainer.checkpoint.verifications import Verifications
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import STATISTICS_SUFFIXES, assign, check_fit, host_arrays, named_parameters
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.train_step import TrainStep

HIDDEN = ".writing-"
ATTEMPT_FOLDER = re.compile(rf"{re.escape(HIDDEN)}(?:(?P<job>[A-Za-z0-9-]+)-)?(?P<attempt>\d+)")
DAMAGED = "damaged-"
ABANDONED_SECONDS = 3600.0
"""Without a change: nobody writes any more into the folder of an attempt whose number is higher than our own."""


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
    """The files of all ranks in one directory; nothing here but `snapshot` is a matter of several ranks."""

    settings: RunCheckpoint
    plan: TrainingPlan
    world: World
    attempt: int = 0
    """Of the gang; an operator that does not tell it leaves 0."""
    job_uid: str | None = None
    """A job that is deleted and made anew begins at attempt 0 again, and has another uid."""
    write_file: Callable[[Path, Tensors], FileEntry] = write_tensors

    @property
    def directory(self) -> Path:
        """Folder of this job's checkpoints."""
        return Path(self.settings.directory)

    @property
    def room(self) -> Path:
        """Folder of what this gang has not published yet."""
        job = "" if self.job_uid is None else f"{self.job_uid}-"
        return self.directory / f"{HIDDEN}{job}{self.attempt}"

    def prepare(self) -> None:
        """Shut earlier gangs out and make room for this one; rank 0 calls it before any rank saves.

        InvalidInput where the directory cannot be written to, so that it is told before the first step.
        """
        remedy = f"the folder must be writable for user {os.getuid()}, mend its rights or choose another one for "
        with explained(self.directory, "checkpoints cannot be written", remedy + "spec.checkpoint"):
            self.directory.mkdir(parents=True, exist_ok=True)
            if self.room.exists():
                remove_folder(self.room)
            self.room.mkdir()
            now = self.room.stat().st_mtime  # by the volume's clock, as the other folders' times are
            for folder in self.directory.glob(f"{HIDDEN}*"):
                if folder != self.room and not self._may_be_alive(folder, now):
                    remove_folder(folder)

    def leave(self) -> None:
        """Take the empty room away; rank 0 calls it when the gang writes no more."""
        with contextlib.suppress(OSError):
            self.room.rmdir()

    def snapshot(self, state: TrainingState, step: int, verifications: Verifications) -> Snapshot:
        """Copy the state after `step` updates; all ranks call together."""
        backbone = state.backbone(self.world)
        shared: dict[str, Tensors] = {}
        if self.world.is_first:
            shared = {checkpoint.BACKBONE_FILE: backbone, checkpoint.MOMENTUM_FILE: state.momentum()}
        return Snapshot(step, state.head(), shared, verifications.last, verifications.best, state.loss_scale())

    def write(self, snapshot: Snapshot) -> list[FileEntry]:
        """Write this rank's files: that of its head first, rank 0's others behind it.

        Raises:
            Diverged: where a number is not finite.
            OSError, SafetensorError, ArcFaceError: where the disk refuses.
        """
        snapshot.check_finite()
        hidden = self._hidden(snapshot.step)
        try:
            hidden.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise ArcFaceError(f"{self.room} is gone: another gang has begun to write here") from None
        files = {head_name(self._classes(self.world.rank).start): snapshot.head, **snapshot.shared}
        return [self.write_file(hidden / name, tensors) for name, tensors in files.items()]

    def head_entry(self, rank: int, size: int, sha256: str) -> FileEntry:
        """What the manifest says of a rank's head, of which only size and hash are not known beforehand."""
        classes = self._classes(rank)
        shape = TensorEntry(shape=[classes.size, self.plan.model.embedding_size])
        return FileEntry(
            name=head_name(classes.start),
            size=size,
            sha256=sha256,
            first_class=classes.start,
            tensors={"centers": shape, "momentum": shape},
        )

    def publish(
        self,
        step: int,
        files: list[FileEntry],
        *,
        verification: Verification | None,
        best: Verification | None,
        loss_scale: LossScale | None,
    ) -> CheckpointStatus:
        """Make a checkpoint of files that all ranks have written, and remove those that are too many.

        Raises:
            OSError: where the disk refuses; what was written is removed then.
        """
        manifest = self.plan.manifest(step, files, verification, best, loss_scale)
        try:
            final = self._publish(manifest)
        except OSError:
            self.discard(step)
            raise
        for old in checkpoint.checkpoints(self.directory)[self.settings.keep_last :]:
            if best is None or checkpoint.step_of(old) != best.step:
                shutil.rmtree(old, ignore_errors=True)
        return status_of(final, manifest, self.settings)

    def discard(self, step: int) -> None:
        """Make room on the disk after a save that failed."""
        with contextlib.suppress(OSError):
            remove_folder(self._hidden(step))

    def _publish(self, manifest: CheckpointManifest) -> Path:
        hidden, final = self._hidden(manifest.step), self.directory / checkpoint.folder_name(manifest.step)
        with (hidden / checkpoint.MANIFEST_FILE).open("wb") as file:
            file.write(manifest.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(hidden)
        self._set_aside(manifest.step)
        hidden.rename(final)
        sync_folder(self.directory)
        return final

    def _hidden(self, step: int) -> Path:
        return self.room / checkpoint.folder_name(step)

    def _classes(self, rank: int) -> ClassRange:
        return checkpoint.class_range(self.plan.class_count, self.world.size, rank)

    def _may_be_alive(self, folder: Path, now: float) -> bool:
        """Whether a newer gang of this job may write there; without a uid the number alone does not tell for ever."""
        found = ATTEMPT_FOLDER.fullmatch(folder.name)
        if found is None or found["job"] != self.job_uid or int(found["attempt"]) <= self.attempt:
            return False
        try:
            changes = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
        except FileNotFoundError:
            return True
        return now - max(changes) < ABANDONED_SECONDS

    def _set_aside(self, step: int) -> None:
        """Rename checkpoints of this step and beyond: the run passed them over as damaged when it resumed.

        Left as they are they would count as the newest ones, and `keep_last` would remove this one in their favour.
        """
        for folder in checkpoint.checkpoints(self.directory):
            if checkpoint.step_of(folder) >= step:
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
