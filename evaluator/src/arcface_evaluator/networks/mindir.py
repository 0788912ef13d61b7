"""A network in a MindIR file as a plain function; `arcface export` writes the preprocessing beside it (`FILE.json`)."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.embedder import Network
from arcface_faces.images.preprocessing import Preprocessing, resolve_preprocessing
from arcface_trainer.network.mindspore_settings import compute_environment

CRITICAL_ONLY = "4"
REFUSALS = (RuntimeError, ValueError, TypeError)
"""What MindSpore raises for files and inputs that it does not like."""


def read_preprocessing(path: Path, declared: Preprocessing | None) -> Preprocessing:
    """What the file beside a MindIR file says, or what is declared."""
    if not path.is_file():
        raise InvalidInput(f"{path}: is no file; correct --model")
    beside = path.with_name(f"{path.name}.json")
    try:
        stored = beside.read_bytes() if beside.exists() else None
    except OSError as error:
        raise InvalidInput(f"{beside}: cannot be read ({error.strerror})") from None
    return resolve_preprocessing(path, stored, str(beside), declared)


def load_mindir(path: Path, preprocessing: Preprocessing) -> Network:
    """The network in a MindIR file; InvalidInput where MindSpore cannot load it, or it takes something else."""
    # What MindSpore logs at its own errors is told by ours.
    os.environ.update(compute_environment({"GLOG_v": CRITICAL_ONLY, **os.environ}, "cpu"))
    # Imported here, as for checkpoints: MindSpore takes seconds to load.
    from arcface_trainer.export.network import open_mindir  # noqa: PLC0415

    try:
        run = open_mindir(path)
    except REFUSALS as error:
        raise InvalidInput(f"{path}: MindSpore cannot load it ({first_line(error)})") from None

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return run(preprocessing.prepare(images))
        except REFUSALS as error:
            raise InvalidInput(f"{path}: takes no float32 images {images.shape} ({first_line(error)})") from None

    return embed


def first_line(error: Exception) -> str:
    """What an error of MindSpore says, without the places in its sources."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
