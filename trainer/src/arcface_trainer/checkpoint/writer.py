"""Checkpoints as files: every rank writes its block of class centres, rank 0 the rest.

Files are written and flushed to disk in a hidden folder; when those of all ranks are there, rank 0 writes the manifest
and renames the folder. A crash before the rename leaves no checkpoint, a crash after it a whole one. The hidden folder
lies in one that belongs to the job, the gang's attempt and the launch of its ranks (a fencing token). The next ranks
move that away when they start: whoever is left of a gang or a pod that was taken for lost, or of an earlier job of its
name, finds no place to write to any more, and publishes nothing.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from arcface_api.contract.run_config import UNPUBLISHED, RunCheckpoint
from arcface_api.errors import PASSING, PASSING_WHERE_WRITTEN, ArcFaceError, InvalidInput, explained
from arcface_api.resource.status import CheckpointStatus, Verification
from arcface_faces import checkpoint
from arcface_faces.checkpoint_writing import head_name, sync_folder, write_manifest, write_tensors
from arcface_trainer.checkpoint.state import Snapshot, TrainingState, Verifications
from arcface_trainer.distributed.collectives import World
from arcface_trainer.plan import TrainingPlan

ATTEMPT_FOLDER = re.compile(
    rf"{re.escape(UNPUBLISHED)}(?:(?P<job>[A-Za-z0-9-]+)-)?(?P<attempt>\d+)(?:\.(?P<launch>\d+))?"
)
DAMAGED, SUPERSEDED = "damaged-", "superseded-"
"""Prefixes of checkpoints that are put aside: of those that cannot be read, and of sound ones that the training left.

Left as they are they would count as the newest ones, and `keep_last` would remove newer ones in their favour.
"""
ABANDONED_SECONDS = 3600.0
"""Without a change: nobody writes any more into the folder of an attempt whose number is higher than our own."""


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
    launch: int = 0
    """Of the attempt's ranks: those of a pod that was made anew alone are of another one than the lost pod's."""
    write_file: Callable[[Path, checkpoint.Tensors], checkpoint.FileEntry] = write_tensors

    @property
    def directory(self) -> Path:
        """Folder of this job's checkpoints."""
        return Path(self.settings.directory)

    @property
    def room(self) -> Path:
        """Folder of what this gang has not published yet."""
        return self.settings.unpublished(self.job_uid, self.attempt, self.launch)

    def prepare(self) -> None:
        """Shut earlier gangs out and make room for this one; rank 0 calls it before any rank saves.

        InvalidInput where the directory cannot be written to, so that it is told before the first step; ArcFaceError
        where that may pass, as of a read-only volume that holds checkpoints of this run.
        """
        remedy = f"the folder must be writable for user {os.getuid()}, mend its rights or choose another one for "
        passing = PASSING_WHERE_WRITTEN if checkpoint.checkpoints(self.directory) else PASSING
        with explained(self.directory, "checkpoints cannot be written", remedy + "spec.checkpoint", passing):
            self.directory.mkdir(parents=True, exist_ok=True)
            if self.room.exists():
                _remove_folder(self.room)
            self.room.mkdir()
            now = self.room.stat().st_mtime  # by the volume's clock, as the other folders' times are
            for folder in self.directory.glob(f"{UNPUBLISHED}*"):
                if folder != self.room and not self._may_be_alive(folder, now):
                    _remove_folder(folder)

    def leave(self) -> None:
        """Take the empty room away; rank 0 calls it when the gang writes no more."""
        with contextlib.suppress(OSError):
            self.room.rmdir()

    def snapshot(
        self,
        state: TrainingState,
        step: int,
        verifications: Verifications,
        roll_back: checkpoint.RollBack | None = None,
        holder: int = 0,
    ) -> Snapshot:
        """Copy the state after `step` updates, what all ranks have alike on `holder` alone; all ranks call together."""
        backbone = state.backbone(self.world)
        shared: dict[str, checkpoint.Tensors] = {}
        if self.world.rank == holder:
            shared = {checkpoint.BACKBONE_FILE: backbone, checkpoint.MOMENTUM_FILE: state.momentum()}
        last, best = verifications.last, verifications.best
        return Snapshot(step, state.head(), shared, last, best, state.loss_scale(), roll_back)

    def write(self, snapshot: Snapshot) -> list[checkpoint.FileEntry]:
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

    def head_entry(self, rank: int, size: int, sha256: str) -> checkpoint.FileEntry:
        """What the manifest says of a rank's head, of which only size and hash are not known beforehand."""
        classes = self._classes(rank)
        shape = checkpoint.TensorEntry(shape=[classes.size, self.plan.model.embedding_size])
        return checkpoint.FileEntry(
            name=head_name(classes.start),
            size=size,
            sha256=sha256,
            first_class=classes.start,
            tensors={"centers": shape, "momentum": shape},
        )

    def publish(
        self,
        step: int,
        files: list[checkpoint.FileEntry],
        *,
        verification: Verification | None,
        best: Verification | None,
        loss_scale: checkpoint.LossScale | None,
        roll_back: checkpoint.RollBack | None = None,
    ) -> CheckpointStatus:
        """Make a checkpoint of files that all ranks have written, and remove those that are too many.

        Raises:
            OSError, ArcFaceError: where the disk refuses; what was written is removed then.
        """
        manifest = self.plan.manifest(
            step, files, verification=verification, best=best, loss_scale=loss_scale, roll_back=roll_back
        )
        try:
            # Before the manifest is written, which is refused to a gang whose room is gone: one that hangs in a dead
            # volume meanwhile and comes back later knows none of its successor's checkpoints, and touches none.
            there, left = checkpoint.checkpoints(self.directory), self._superseded(step, roll_back)
            final = self._publish(manifest, left)
        except (OSError, ArcFaceError):
            self.discard(step)
            raise
        older = [each for each in there if each not in left]
        for old in older[self.settings.keep_last - 1 :]:
            if best is None or checkpoint.step_of(old) != best.step:
                shutil.rmtree(old, ignore_errors=True)
        return status_of(final, manifest, self.settings)

    def set_aside(self, first_step: int, prefix: str) -> None:
        """Rename the checkpoints of this step and beyond, of which the training knows nothing; none is removed."""
        for folder in checkpoint.checkpoints(self.directory):
            if checkpoint.step_of(folder) >= first_step:
                _set_aside(folder, prefix)

    def go_back(self, manifest: checkpoint.CheckpointManifest | None) -> None:
        """Put what is newer than a checkpoint aside and note in its manifest why, so that whoever resumes knows it.

        In this order: whoever resumes between the two goes the same way again. Of a way back to the beginning, where
        there is no manifest, all are newer.

        Raises:
            ArcFaceError: where the disk refuses; the next checkpoint makes up for both.
        """
        step, remedy = 0 if manifest is None else manifest.step, "mend the rights of the folder"
        final = self.directory / checkpoint.folder_name(step)
        with explained(final, "the way back is not noted before the next save", remedy, PASSING_WHERE_WRITTEN):
            self.set_aside(step + 1, SUPERSEDED)
            if manifest is not None:
                write_manifest(final, manifest.to_json())

    def discard(self, step: int) -> None:
        """Make room on the disk after a save that failed."""
        with contextlib.suppress(OSError):
            _remove_folder(self._hidden(step))

    def _superseded(self, step: int, roll_back: checkpoint.RollBack | None) -> list[Path]:
        """Checkpoints of this step and beyond, and those that a way back has left but could not put aside."""
        return [
            folder
            for folder in checkpoint.checkpoints(self.directory)
            if checkpoint.step_of(folder) >= step or _is_left(folder, roll_back)
        ]

    def _publish(self, manifest: checkpoint.CheckpointManifest, superseded: list[Path]) -> Path:
        hidden, final = self._hidden(manifest.step), self.directory / checkpoint.folder_name(manifest.step)
        write_manifest(hidden, manifest.to_json())
        for folder in superseded:
            _set_aside(folder, SUPERSEDED)
        hidden.rename(final)
        sync_folder(self.directory)
        return final

    def _hidden(self, step: int) -> Path:
        return self.room / checkpoint.folder_name(step)

    def _classes(self, rank: int) -> checkpoint.ClassRange:
        return checkpoint.class_range(self.plan.class_count, self.world.size, rank)

    def _may_be_alive(self, folder: Path, now: float) -> bool:
        """Whether a newer gang of this job may write there; without a uid the number alone does not tell for ever."""
        found = ATTEMPT_FOLDER.fullmatch(folder.name)
        if found is None or found["job"] != self.job_uid:
            return False
        if (int(found["attempt"]), int(found["launch"] or 0)) <= (self.attempt, self.launch):
            return False
        try:
            changes = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
        except FileNotFoundError:
            return True
        return now - max(changes) < ABANDONED_SECONDS


def status_of(folder: Path, manifest: checkpoint.CheckpointManifest, settings: RunCheckpoint) -> CheckpointStatus:
    """What reports tell of a published checkpoint."""
    return CheckpointStatus(
        path=settings.path_of(folder),
        step=manifest.step,
        saved_at=manifest.saved_at,
        sha256=checkpoint.manifest_sha256(folder),
    )


def _is_left(folder: Path, roll_back: checkpoint.RollBack | None) -> bool:
    """Whether a checkpoint is from before a way back, which has left it and could not put it aside."""
    if roll_back is None or checkpoint.step_of(folder) <= roll_back.to_step:
        return False
    try:
        return checkpoint.read_manifest(folder).roll_back != roll_back
    except InvalidInput:  # one that cannot be read stays, and keeps no save from ending
        return False


def _set_aside(folder: Path, prefix: str) -> None:
    """Rename a checkpoint that does not count any more."""
    aside = folder.with_name(f"{prefix}{folder.name}")
    if aside.exists():
        aside = aside.with_name(f"{aside.name}-{token_hex(4)}")
    folder.rename(aside)


def _remove_folder(folder: Path) -> None:
    """Rename a folder, so that whoever still writes there finds it gone, then delete of it what can be deleted."""
    dead = folder.with_name(f"{folder.name}-{token_hex(4)}")
    folder.rename(dead)
    shutil.rmtree(dead, ignore_errors=True)
