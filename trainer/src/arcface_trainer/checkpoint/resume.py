"""Continues from the newest checkpoint that every rank can read."""

import logging
from pathlib import Path

from arcface_api.errors import InvalidInput
from arcface_faces.checkpoint.class_shard import class_range
from arcface_faces.checkpoint.manifest import CheckpointManifest
from arcface_faces.checkpoint.reader import (
    BACKBONE_FILE,
    MOMENTUM_FILE,
    Tensors,
    checkpoints,
    complete_checkpoints,
    folder_name,
    read_file,
    read_head,
    read_manifest,
)
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.world import World

LOG = logging.getLogger(__name__)
CANDIDATES = 8
"""Newest checkpoints that are tried."""
NONE = -1


def resume(state: TrainingState, directory: Path, expected: CheckpointManifest, world: World) -> int:
    """Load the newest checkpoint that all ranks find sound.

    Args:
        state: filled from the checkpoint.
        directory: folder of the job's checkpoints.
        expected: what a checkpoint of this run must agree with (its step and files are not looked at).
        world: all ranks call together.

    Returns:
        Updates already made; 0 when there is no checkpoint.

    Raises:
        InvalidInput: where a checkpoint belongs to another run, or there are some and all that were tried are damaged.
    """
    found, steps = _candidates(directory, expected, world)
    for step in steps:
        folder = directory / folder_name(step)
        tensors = _read(folder, world)
        if world.gather([tensors is not None]).all() and tensors is not None:
            state.load(*tensors, source=str(folder))
            return step
    if found:
        raise InvalidInput(
            f"{directory}: holds {found} checkpoints, but those that were tried are damaged: mend the volume, move the "
            "newest away to go on from an older one, or move all away to start anew"
        )
    return 0


def _candidates(directory: Path, expected: CheckpointManifest, world: World) -> tuple[int, list[int]]:
    """Number of folders named like checkpoints, and the steps of the complete ones, newest first, as rank 0 sees them.

    No more than `CANDIDATES` steps.
    """
    found: list[Path] = []
    steps: list[int] = []
    if world.is_first:
        found = checkpoints(directory)
        for folder, manifest in complete_checkpoints(directory):
            check_same_run(manifest, expected, folder)
            steps.append(manifest.step)
    padded = (steps + [NONE] * CANDIDATES)[:CANDIDATES]
    count, *shared = world.gather([len(found), *padded])[0].tolist()
    return count, [step for step in shared if step != NONE]


def check_same_run(manifest: CheckpointManifest, expected: CheckpointManifest, folder: Path) -> None:
    """InvalidInput where a checkpoint comes from another job specification or other images."""
    remedy = "choose another checkpoint.path or remove the folder"
    if manifest.spec_hash != expected.spec_hash:
        raise InvalidInput(f"{folder}: was written for another model, loss, data or training specification: {remedy}")
    for name in ("image_count", "class_count", "total_batch_size", "total_steps"):
        stored, wanted = getattr(manifest, name), getattr(expected, name)
        if stored != wanted:
            raise InvalidInput(f"{folder}: {name} was {stored} and is {wanted} now: {remedy}")


def _read(folder: Path, world: World) -> tuple[Tensors, Tensors, Tensors] | None:
    try:
        manifest = read_manifest(folder)
        classes = class_range(manifest.class_count, world.size, world.rank)
        return (
            read_file(folder, manifest, BACKBONE_FILE),
            read_file(folder, manifest, MOMENTUM_FILE),
            read_head(folder, manifest, classes),
        )
    except InvalidInput as error:
        LOG.warning("checkpoint is passed over reason=%s", error)
        return None
