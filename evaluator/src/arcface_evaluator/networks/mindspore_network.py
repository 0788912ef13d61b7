"""Networks that MindSpore runs: those of checkpoints, and of MindIR files with their preprocessing in `FILE.json`.

MindSpore and the trainer's network are imported where one is loaded and nowhere else: they take seconds, and embeddings
and ONNX files are judged without them.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.embedding.embedder import Network
from arcface_faces.images.face_input import Preprocessing, resolve_preprocessing

NEEDED = {"arcface_trainer": "arcface-trainer", "mindspore": "mindspore"}
"""Package and distribution of what `arcface-evaluator[mindspore]` brings."""
CRITICAL_ONLY = "4"
REFUSALS = (RuntimeError, ValueError, TypeError)
"""What MindSpore raises for files and inputs that it does not like."""


def require_mindspore(path: Path) -> None:
    """InvalidInput where what runs a checkpoint or a MindIR file is not installed."""
    missing = [distribution for package, distribution in NEEDED.items() if find_spec(package) is None]
    if missing:
        raise InvalidInput(
            f"{path}: needs {' and '.join(missing)}, not installed here: install arcface-evaluator[mindspore], or give "
            "--embeddings or an ONNX file"
        )


def load_checkpoint(folder: Path) -> Network:
    """Network of a checkpoint; InvalidInput where it is damaged."""
    _prepare_environment(folder, {})
    from arcface_trainer.network.inference import load_network  # noqa: PLC0415 - see above

    return load_network(folder)


def read_preprocessing(path: Path, declared: Preprocessing | None) -> Preprocessing:
    """What the file beside a MindIR file says, or what is declared."""
    beside = path.with_name(f"{path.name}.json")
    with explained(beside, "cannot be read", "give this user the right to read it"):
        if not path.is_file():
            raise InvalidInput(f"{path}: is no file; correct --model")
        stored = beside.read_bytes() if beside.exists() else None
    return resolve_preprocessing(path, stored, str(beside), declared)


def load_mindir(path: Path, preprocessing: Preprocessing) -> Network:
    """The network in a MindIR file; InvalidInput where MindSpore cannot load it, or it takes something else."""
    # What MindSpore logs at its own errors is told by ours.
    _prepare_environment(path, {"GLOG_v": CRITICAL_ONLY})
    from arcface_trainer.export.network import open_mindir  # noqa: PLC0415 - see above

    try:
        run = open_mindir(path)
    except REFUSALS as error:
        raise InvalidInput(f"{path}: MindSpore cannot load it ({_first_line(error)})") from None

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return run(preprocessing.prepare(images))
        except REFUSALS as error:
            raise InvalidInput(f"{path}: takes no float32 images {images.shape} ({_first_line(error)})") from None

    return embed


def _prepare_environment(path: Path, defaults: dict[str, str]) -> None:
    """Set what MindSpore reads once, when it is loaded; on Ascend the settings for the CPU do no harm."""
    require_mindspore(path)
    from arcface_trainer.network.mindspore_settings import compute_environment  # noqa: PLC0415 - see above

    os.environ.update(compute_environment({**defaults, **os.environ}, "cpu"))


def _first_line(error: Exception) -> str:
    """What an error of MindSpore says, without the places in its sources."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
