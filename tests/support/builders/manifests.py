"""Manifests of checkpoints, as the trainer writes them."""

from datetime import UTC, datetime

from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import CheckpointManifest, FileEntry


def make_manifest(model: ModelSpec, step: int, *files: FileEntry) -> CheckpointManifest:
    """That of a training that ended with this step."""
    return CheckpointManifest(
        job="faces",
        spec_hash="0" * 64,
        step=step,
        total_steps=step,
        epoch=1,
        total_batch_size=8,
        world_size=1,
        seed=0,
        image_count=80,
        class_count=4,
        saved_at=datetime(2026, 1, 2, tzinfo=UTC),
        model=model,
        files=[*files],
    )
