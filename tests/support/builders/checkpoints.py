"""Checkpoints of untrained networks, written as the trainer writes them."""

from pathlib import Path

from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import BACKBONE_FILE, folder_name
from arcface_faces.checkpoint_writing import write_manifest, write_tensors
from arcface_trainer.network.backbones import build_backbone, named_parameters
from support.builders.manifests import make_manifest

SMALL = ModelSpec(backbone="mobilefacenet", width=0.25, embedding_size=16)


def write_checkpoint(directory: Path, model: ModelSpec = SMALL, step: int = 10) -> Path:
    """A complete checkpoint without a head, which evaluation and export do not look at."""
    folder = directory / folder_name(step)
    folder.mkdir(parents=True)
    weights = {name: value.asnumpy() for name, value in named_parameters(build_backbone(model)).items()}
    manifest = make_manifest(model, step, write_tensors(folder / BACKBONE_FILE, weights))
    write_manifest(folder, manifest.to_json())
    return folder
