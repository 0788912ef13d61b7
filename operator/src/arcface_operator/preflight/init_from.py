"""Looking at the checkpoint that a job is to fine-tune, where its claim has a directory.

Its manifest is JSON whose network is of our own type, so that no reader of checkpoints is needed. Hashes are the
trainer's matter: it reads the files anyway.
"""

from collections.abc import Mapping
from pathlib import Path

from arcface_api.architectures import misfit
from arcface_api.errors import InvalidInput, explained
from arcface_api.model import Model
from arcface_api.resource.spec import ModelSpec

FIELD = "spec.model.initFrom"
MANIFEST, FOLDERS = "manifest.json", "step-*"


class _Manifest(Model):
    """What is looked at of a checkpoint's manifest."""

    model: ModelSpec


def check_init_from(model: ModelSpec, volumes: Mapping[str, Path]) -> None:
    """InvalidInput where there is no checkpoint, or that of a network of another shape."""
    init_from = model.init_from
    if init_from is None or init_from.claim_name not in volumes:
        return
    directory = volumes[init_from.claim_name] / init_from.path
    with explained(directory, "cannot be looked at", f"correct {FIELD}.path or the --volume"):
        manifest = _newest_manifest(directory)
        text = b"" if manifest is None else manifest.read_bytes()
    if manifest is None:
        raise InvalidInput(
            f"{FIELD}.path: {directory} is neither a checkpoint nor a folder of some; correct the path or the --volume"
        )
    found = _Manifest.from_ours(text, f"{FIELD}: {manifest}").model
    if (difference := misfit(model, found)) is not None:
        raise InvalidInput(f"spec.{difference} ({manifest.parent}); write the same, or name another checkpoint")


def _newest_manifest(directory: Path) -> Path | None:
    """Of the checkpoint that is given, or else of the newest one inside."""
    if (directory / MANIFEST).is_file():
        return directory / MANIFEST
    found = directory.glob(f"{FOLDERS}/{MANIFEST}")
    return max(found, key=lambda path: (len(path.parent.name), path.parent.name), default=None)
