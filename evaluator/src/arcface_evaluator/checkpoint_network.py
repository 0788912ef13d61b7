"""The network of a checkpoint as a plain function; the one place that reaches MindSpore, and only when called."""

import os
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import InvalidInput
from arcface_evaluator.embedder import Network
from arcface_trainer.checkpoint import newest_complete
from arcface_trainer.checkpoint_manifest import MANIFEST_FILE
from arcface_trainer.environment import compute_environment


@dataclass(frozen=True, slots=True)
class CheckpointNetwork:
    """A complete checkpoint, opened."""

    folder: Path
    network: Network

    @property
    def manifest(self) -> Path:
        """File that describes and hashes all others of the checkpoint."""
        return self.folder / MANIFEST_FILE


def open_checkpoint(given: Path) -> CheckpointNetwork:
    """Load a checkpoint, or the newest complete one of a folder of checkpoints."""
    folder = checkpoint_folder(given)
    # Read once, when MindSpore is loaded; on Ascend the settings for the CPU do no harm.
    os.environ.update(compute_environment(os.environ, "cpu"))
    # Imported here: MindSpore takes seconds to load, and embeddings from a file do not need it.
    from arcface_trainer.inference import load_network  # noqa: PLC0415

    return CheckpointNetwork(folder, load_network(folder))


def checkpoint_folder(given: Path) -> Path:
    """The folder itself where it is a checkpoint, else the newest complete one inside."""
    if not given.is_dir():
        raise InvalidInput(f"{given}: is no folder; give a checkpoint or the folder of a job's checkpoints")
    if (given / MANIFEST_FILE).is_file():
        return given
    if (newest := newest_complete(given)) is None:
        raise InvalidInput(f"{given}: holds no complete checkpoint; train until one is saved")
    return newest
