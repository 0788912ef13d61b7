"""The network of a checkpoint as a plain function; the one place that reaches MindSpore, and only when called."""

import os
from pathlib import Path

from arcface_faces.embedding.embedder import Network
from arcface_trainer.network.mindspore_settings import compute_environment


def load_checkpoint(folder: Path) -> Network:
    """Network of a checkpoint; InvalidInput where it is damaged."""
    # Read once, when MindSpore is loaded; on Ascend the settings for the CPU do no harm.
    os.environ.update(compute_environment(os.environ, "cpu"))
    # Imported here: MindSpore takes seconds to load, and embeddings from a file do not need it.
    from arcface_trainer.network.inference import load_network  # noqa: PLC0415

    return load_network(folder)
