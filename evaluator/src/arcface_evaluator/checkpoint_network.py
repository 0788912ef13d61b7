"""The network of a checkpoint as a plain function; the one place that reaches MindSpore, and only when called."""

import os
from dataclasses import dataclass
from pathlib import Path

from arcface_evaluator.embedder import Network
from arcface_trainer.checkpoint import checkpoint_folder
from arcface_trainer.environment import compute_environment


@dataclass(frozen=True, slots=True)
class CheckpointNetwork:
    """A complete checkpoint, opened."""

    folder: Path
    network: Network


def open_checkpoint(given: Path) -> CheckpointNetwork:
    """Load a checkpoint, or the newest complete one of a folder of checkpoints."""
    folder = checkpoint_folder(given)
    # Read once, when MindSpore is loaded; on Ascend the settings for the CPU do no harm.
    os.environ.update(compute_environment(os.environ, "cpu"))
    # Imported here: MindSpore takes seconds to load, and embeddings from a file do not need it.
    from arcface_trainer.inference import load_network  # noqa: PLC0415

    return CheckpointNetwork(folder, load_network(folder))
