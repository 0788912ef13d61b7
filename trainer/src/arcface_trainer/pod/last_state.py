"""The newest state in memory, written to the volume by launchers whose ranks cannot do it any more.

Ranks that are asked to stop save a checkpoint together. Where one of them is gone the others wait for it in a
collective and save nothing, and what is in the memory of their pods would go with the pods. So each launcher that ends
after a failure writes its ranks' heads there, and the copies that it keeps of another pod's (`mirror`), and whoever
finds the heads of all ranks there publishes them. Nobody waits for anybody: where one is missing there is no
checkpoint.

What is published is as whole as any checkpoint: heads of one step and of one common part, by its hashes, each compared
with its own hash while it was copied, flushed, and published by one rename out of the folder of this gang's attempt.
The next gang moves that folder away before it looks for a checkpoint, so that none appears behind its back.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract import pod_environment, run_config
from arcface_api.errors import ArcFaceError
from arcface_faces import checkpoint, checkpoint_writing as files

WHOLE = "whole"


@dataclass(frozen=True)
class LastState:
    """The newest state that all ranks of this pod have left in its memory."""

    config: run_config.RunConfig
    identity: pod_environment.RankIdentity
    memory: Path
    """Folder in shared memory."""
    manifest: checkpoint.CheckpointManifest
    """Of the pod's first rank, with the common part."""
    room: Path
    """Where parts of this very state are put together."""

    @classmethod
    def of(
        cls, config: run_config.RunConfig, identity: pod_environment.RankIdentity, memory: Path
    ) -> "LastState | None":
        """None where there is none, or the volume has one that is as new."""
        ranks = range(identity.rank, identity.rank + config.ranks.per_pod)
        there = [_steps(memory / f"rank-{rank}", config.ranks.world_size) for rank in ranks]
        step = max(set.intersection(*there), default=-1)
        on_volume = checkpoint.checkpoints(Path(config.checkpoint.directory))
        if step < 0 or any(checkpoint.step_of(folder) >= step for folder in on_volume):
            return None
        manifest = checkpoint.read_manifest(memory / f"rank-{identity.rank}" / checkpoint.folder_name(step))
        hashes = "-".join(entry.sha256[:16] for entry in manifest.common_part)
        name = f"memory-{step}-{hashes}"
        return cls(config, identity, memory, manifest, _unpublished(config.checkpoint, identity) / name)

    @property
    def step(self) -> int:
        """Updates before it."""
        return self.manifest.step

    def save(self) -> bool:
        """Write what there is of it to the volume; whether that made a checkpoint.

        Raises:
            OSError, ArcFaceError: where the volume refuses, or another gang has begun to write there.
        """
        self.room.mkdir(exist_ok=True)
        for rank, folder in self._parts().items():
            if not self._part(rank).exists():
                self._write(rank, folder)
        ranks = range(self.config.ranks.world_size)
        return all(self._part(rank).is_dir() for rank in ranks) and self._publish(ranks)

    @property
    def _name(self) -> str:
        return checkpoint.folder_name(self.step)

    def _part(self, rank: int) -> Path:
        return self.room / f"rank-{rank}"

    def _parts(self) -> dict[int, Path]:
        """Ranks whose heads are in this pod's memory, its own ones first, and where."""
        own = range(self.identity.rank, self.identity.rank + self.config.ranks.per_pod)
        found = {rank: self.memory / f"rank-{rank}" / self._name for rank in own}
        for copies in self.memory.glob(f"copies-of-*/{self._name}"):
            owner = int(copies.parent.name.rpartition("-")[2])
            if checkpoint.parse_manifest(copies / f"rank-{owner}").common_part == self.manifest.common_part:
                kept = range(owner, owner + self.config.ranks.per_pod)
                found |= {rank: copies / f"rank-{rank}" for rank in kept}
        return found

    def _write(self, rank: int, source: Path) -> None:
        """A rank's head and manifest, under their name when they are on the disk."""
        hidden = self.room / f".rank-{rank}-by-{self.identity.rank}"
        hidden.mkdir()
        try:
            files.copy_file(source, hidden, self._head(rank, source))
            shutil.copyfile(source / checkpoint.MANIFEST_FILE, hidden / checkpoint.MANIFEST_FILE)
            files.sync_folder(hidden)
            if not self._part(rank).exists():  # by a launcher that keeps copies of this rank's, or has them
                hidden.rename(self._part(rank))
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def _publish(self, ranks: range) -> bool:
        """Make a checkpoint of what all launchers have written; False where another one is at it."""
        whole, directory = self.room / WHOLE, Path(self.config.checkpoint.directory)
        try:
            whole.mkdir()
        except FileExistsError:
            return False
        try:
            heads = [self._head(rank, self._part(rank)) for rank in ranks]
            for rank, head in zip(ranks, heads, strict=True):
                (self._part(rank) / head.name).rename(whole / head.name)
            common = self.manifest.common_part
            for entry in common:
                files.copy_file(self.memory / f"rank-{self.identity.rank}" / self._name, whole, entry)
            files.write_manifest(whole, self.manifest.model_copy(update={"files": [*common, *heads]}).to_json())
            checkpoint.read_manifest(whole)  # all sizes are right
            whole.rename(directory / self._name)
            files.sync_folder(directory)
        finally:
            shutil.rmtree(self.room, ignore_errors=True)
        return True

    def _head(self, rank: int, folder: Path) -> checkpoint.FileEntry:
        """What a rank's manifest says of its head."""
        classes = checkpoint.class_range(self.manifest.class_count, self.manifest.world_size, rank)
        manifest = checkpoint.parse_manifest(folder)
        for entry in manifest.heads:
            if (entry.first_class, entry.class_count, manifest.step) == (*classes, self.step):
                return entry
        raise ArcFaceError(f"{folder}: is no part of the state of step {self.step}")


def _unpublished(settings: run_config.RunCheckpoint, identity: pod_environment.RankIdentity) -> Path:
    """Folder of the newest launch whose ranks have made one: it is this one's, or they have not begun."""
    launches = range(identity.launch, -1, -1)
    folders = [settings.unpublished(identity.job_uid, identity.attempt or 0, launch) for launch in launches]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _steps(folder: Path, world_size: int) -> set[int]:
    """Updates before each state of a rank that is whole by its sizes."""
    found = (manifest for _, manifest in checkpoint.complete_checkpoints(folder))
    return {manifest.step for manifest in found if manifest.world_size == world_size}
