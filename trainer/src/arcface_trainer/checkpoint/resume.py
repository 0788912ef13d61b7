"""Where one goes on from: the newest state that all ranks can read, in the memory of their pods or on the volume."""

import logging
from pathlib import Path

from arcface_api.contract.recipe import difference
from arcface_api.errors import InvalidInput
from arcface_faces import checkpoint
from arcface_trainer.checkpoint.pod_memory import COPIES, PodMemory
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import World
from arcface_trainer.plan import TrainingPlan

LOG = logging.getLogger(__name__)
NONE = -1
ANY = 2**63
"""A step that no training comes to."""
_Parts = tuple[checkpoint.CheckpointManifest, checkpoint.Tensors, checkpoint.Tensors, checkpoint.Tensors]
"""Manifest, backbone, momentum and a rank's head."""


def refuse_other_runs(directory: Path, plan: TrainingPlan) -> None:
    """InvalidInput where the newest checkpoint belongs to another run, whose folder is then left alone."""
    for folder, manifest in checkpoint.complete_checkpoints(directory):
        _check_same_run(manifest, plan, folder)
        return


def resume(
    state: TrainingState,
    directory: Path,
    plan: TrainingPlan,
    world: World,
    newest_step: int = ANY,
    *,
    memory: PodMemory | None = None,
) -> checkpoint.CheckpointManifest | None:
    """Load the newest checkpoint that all ranks find sound.

    Args:
        state: filled from the checkpoint.
        directory: folder of the job's checkpoints.
        plan: what a checkpoint of this run must agree with.
        world: all ranks call together.
        newest_step: later checkpoints are not looked at.
        memory: where states are that outlived ranks of these pods.

    Returns:
        The manifest of the checkpoint; None when there is none.

    Raises:
        InvalidInput: where a checkpoint belongs to another run or cannot be read, or all that there are are damaged.
        ArcFaceError: where one cannot be read now but may be later; it is not passed over.
    """
    steps = _candidates(directory, world, newest_step)
    sources = [(step, None) for step in steps] + [(step, memory) for step in _kept_by_all(memory)]
    for step, kept in sorted(sources, key=lambda source: (source[0], source[1] is not None), reverse=True):
        folder = directory / checkpoint.folder_name(step)
        own, shared = (folder, folder) if kept is None else kept.folders(step)
        unusable = checkpoint.Damaged if kept is None else InvalidInput
        read = _read(own, shared, plan, world, unusable)
        if world.all_gather([read is not None]).all() and read is not None:
            manifest, backbone, momentum, head = read
            state.load(backbone, momentum, head, source=str(own))
            state.load_loss_scale(manifest.loss_scale)
            LOG.info("resumed folder=%s", own)
            return manifest
    if steps:
        raise InvalidInput(
            f"{directory}: holds {len(steps)} checkpoints, but those that were tried are damaged: mend the volume, "
            "move the newest away to go on from an older one, or move all away to start anew"
        )
    return None


def _candidates(directory: Path, world: World, newest_step: int) -> list[int]:
    """Updates before each checkpoint, by the names of the folders, as rank 0 sees them."""
    found = map(checkpoint.step_of, checkpoint.checkpoints(directory)) if world.is_first else ()
    steps = [step for step in found if step <= newest_step]
    count = int(world.all_gather([len(steps)])[0, 0])
    return world.all_gather(steps or [NONE] * count)[0].tolist() if count else []


def _check_same_run(manifest: checkpoint.CheckpointManifest, plan: TrainingPlan, folder: Path) -> None:
    """InvalidInput where a checkpoint comes from another job specification or other images."""
    remedy = "choose another checkpoint.path or remove the folder"
    if manifest.recipe is not None and plan.recipe is not None:
        if (field := difference(manifest.recipe, plan.recipe)) is not None:
            raise InvalidInput(f"{folder}: {field}: {remedy}")
    elif manifest.spec_hash != plan.spec_hash:
        raise InvalidInput(f"{folder}: was written for another model, loss, data or training specification: {remedy}")
    for name in ("image_count", "class_count", "total_batch_size", "total_steps"):
        stored, wanted = getattr(manifest, name), getattr(plan, name)
        if stored != wanted:
            raise InvalidInput(f"{folder}: {name} was {stored} and is {wanted} now: {remedy}")
    for name in ("data_fingerprint", "content_fingerprint"):
        stored, wanted = getattr(manifest, name), getattr(plan, name)
        if stored not in {None, wanted}:
            raise InvalidInput(
                f"{folder}: was trained on other images (fingerprint {stored:.16}, that of data.path is {wanted:.16}): "
                f"give the images of before, or {remedy}"
            )


def _kept_by_all(memory: PodMemory | None) -> list[int]:
    """Updates before each state that all ranks have in memory."""
    if memory is None:
        return []
    own = (memory.steps() + [NONE] * COPIES)[:COPIES]
    return sorted(set.intersection(*map(set, memory.world.all_gather(own).tolist())) - {NONE})


def _read(own: Path, shared: Path, plan: TrainingPlan, world: World, unusable: type[InvalidInput]) -> _Parts | None:
    """What this rank goes on from: its head, and what all ranks have alike; None where a part is unusable.

    On the volume that is what is damaged; all else ends the start, for what cannot be read may be sound. In memory
    are copies alone, and another run's is as good as none.
    """
    try:
        manifest = of_shared = checkpoint.read_manifest(own)
        _check_same_run(manifest, plan, own)
        if shared != own:
            of_shared = checkpoint.read_manifest(shared)
            _check_same_run(of_shared, plan, shared)
        classes = checkpoint.class_range(manifest.class_count, world.size, world.rank)
        return (
            manifest,
            checkpoint.read_file(shared, of_shared, checkpoint.BACKBONE_FILE),
            checkpoint.read_file(shared, of_shared, checkpoint.MOMENTUM_FILE),
            checkpoint.read_head(own, manifest, classes),
        )
    except unusable as error:
        LOG.warning("checkpoint is passed over reason=%s", error)
        return None
