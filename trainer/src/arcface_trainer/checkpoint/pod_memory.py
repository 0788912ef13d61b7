"""The newest states of the training in the memory of each pod, where they outlive the ranks.

Ranks that their launcher starts again go on from there: every rank keeps its block of class centres in the pod's shared
memory, the pod's first rank also what is alike on all ranks. They are checkpoints in all but their place: the same
files and manifest, written and read by the same code and refused by the same checks.

Every rank publishes its own by a rename. No new one is begun before all ranks have the last one (`saving`), and the one
before is removed no earlier, so there is always one that all ranks have, and never more than two in memory. A start
removes all that it does not go on from: what is there was made by this course of the training alone.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import explained
from arcface_faces import checkpoint, checkpoint_writing as files
from arcface_trainer.checkpoint.state import Snapshot
from arcface_trainer.distributed.collectives import World
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.shared_memory import KIBIBYTE, free_bytes, held_bytes

LOG = logging.getLogger(__name__)
COPIES = 2
"""In memory at a time."""
SHARE = 0.5
"""Of the memory that is free before the first step, which takes some itself; a later launch finds some taken."""
GREATEST = 2**31 - 1
"""What ranks can tell each other."""


@dataclass(frozen=True, slots=True)
class PodMemory:
    """A rank's view of its pod's folder in shared memory."""

    folder: Path
    plan: TrainingPlan
    world: World
    ranks_per_pod: int

    @classmethod
    def of(
        cls, folder: Path | None, plan: TrainingPlan, world: World, ranks_per_pod: int, sizes: tuple[int, int]
    ) -> "PodMemory | None":
        """The memory of this rank's pod; None where one pod has too little, or none. All ranks call together.

        Args:
            folder: in shared memory, of this pod's launcher; None where there is none.
            plan: what a state must agree with.
            world: of all ranks.
            ranks_per_pod: of this gang.
            sizes: bytes of this rank's head, and of what all ranks have alike.
        """
        own = cls(Path() if folder is None else folder, plan, world, ranks_per_pod)
        head, shared = sizes
        wanted = COPIES * (head + shared * (world.rank == own.holder))
        room = 0 if folder is None else int(SHARE * (free_bytes(folder) + held_bytes(folder)))
        rows = world.all_gather([min(size, GREATEST) for size in (wanted // KIBIBYTE + 1, room // KIBIBYTE)]).tolist()
        for first in range(0, world.size, ranks_per_pod):
            pod = rows[first : first + ranks_per_pod]
            needed, there = sum(row[0] for row in pod), min(row[1] for row in pod)
            if needed > there:
                LOG.info(
                    "no states are kept in memory: the pod of rank %d has %d MiB for them and %d would take",
                    first, there // KIBIBYTE, needed // KIBIBYTE,
                )  # fmt: skip
                shutil.rmtree(own._folder_of(world.rank), ignore_errors=True)  # of a launch that had room
                return None
        return own

    @property
    def holder(self) -> int:
        """The rank of this pod that keeps what all ranks have alike."""
        return self.world.rank - self.world.rank % self.ranks_per_pod

    def write(self, snapshot: Snapshot) -> list[checkpoint.FileEntry]:
        """Keep this rank's part of a state, which all ranks call with; what is older than the last one is removed.

        Raises:
            Diverged: where a number is not finite.
            OSError, SafetensorError: where the memory is full.
        """
        snapshot.check_finite()
        own = self._folder_of(self.world.rank)
        own.mkdir(exist_ok=True)
        for folder in checkpoint.checkpoints(own)[COPIES - 1 :]:
            shutil.rmtree(folder)
        hidden = own / f".{checkpoint.folder_name(snapshot.step)}"
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        first = self._classes.start
        head = files.write_tensors(hidden / files.head_name(first), snapshot.head).model_copy(
            update={"first_class": first}
        )
        written = [head, *(files.write_tensors(hidden / name, tensors) for name, tensors in snapshot.shared.items())]
        found = {"verification": snapshot.verification, "best": snapshot.best}
        manifest = self.plan.manifest(
            snapshot.step, written, loss_scale=snapshot.loss_scale, roll_back=snapshot.roll_back, **found
        )
        files.write_manifest(hidden, manifest.to_json())
        hidden.rename(own / hidden.name.removeprefix("."))
        return written

    def steps(self) -> list[int]:
        """Updates before each state that this rank finds whole, by the sizes of its files; newest first."""
        found = [
            {
                manifest.step
                for _, manifest in checkpoint.complete_checkpoints(self._folder_of(rank))
                if manifest.world_size == self.world.size
            }
            for rank in (self.world.rank, self.holder)
        ]
        return sorted(set.intersection(*found), reverse=True)[:COPIES]

    def folders(self, step: int) -> tuple[Path, Path]:
        """Where this rank's head lies, and what all ranks have alike."""
        own, shared = (self._folder_of(rank) / checkpoint.folder_name(step) for rank in (self.world.rank, self.holder))
        return own, shared

    def keep_only(self, step: int | None) -> None:
        """Remove this rank's states of all other steps.

        Raises:
            ArcFaceError: where one stays, which another start could take for its own.
        """
        own = self._folder_of(self.world.rank)
        kept = None if step is None else checkpoint.folder_name(step)
        with explained(own, "old states cannot be removed", "have the pod start again"):
            for folder in own.iterdir() if own.is_dir() else ():
                if folder.name != kept:
                    shutil.rmtree(folder)

    @property
    def _classes(self) -> checkpoint.ClassRange:
        return checkpoint.class_range(self.plan.class_count, self.world.size, self.world.rank)

    def _folder_of(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}"
