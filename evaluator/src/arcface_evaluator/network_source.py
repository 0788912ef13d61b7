"""Where embeddings come from, as the command line says it: a checkpoint or a model file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from arcface_api.errors import InvalidInput
from arcface_evaluator.checkpoint_network import open_checkpoint
from arcface_evaluator.embedder import Network
from arcface_trainer.checkpoint import checkpoint_folder
from arcface_trainer.checkpoint_manifest import MANIFEST_FILE


class NetworkOptions(TypedDict):
    """Options of the commands that embed pictures."""

    checkpoint: Path | None
    model: Path | None
    mean: float | None
    scale: float | None
    channels: Literal["RGB", "BGR"]
    batch_size: int


@dataclass(frozen=True, slots=True)
class Source:
    """A network that is loaded when it is needed."""

    load: Callable[[], Network]
    batch_size: int
    identity: Path
    """File that stands for the network: the checkpoint's manifest, which holds all hashes, or the model."""
    checkpoint: Path | None = None
    """Folder of the checkpoint."""


def open_source(options: NetworkOptions) -> Source | None:
    """The checkpoint or model that is asked for; None where neither is."""
    if options["checkpoint"]:
        folder = checkpoint_folder(options["checkpoint"])
        return Source(lambda: open_checkpoint(folder).network, options["batch_size"], folder / MANIFEST_FILE, folder)
    return open_model(options["model"], options) if options["model"] else None


def open_model(path: Path, options: NetworkOptions) -> Source:
    """An ONNX file, whose batch counts where it has a fixed one."""
    # Imported here: onnxruntime takes a moment to load.
    from arcface_evaluator.onnx_network import Preprocessing, open_onnx  # noqa: PLC0415

    mean, scale = options["mean"], options["scale"]
    if (mean is None) != (scale is None):
        raise InvalidInput("give --mean and --scale together")
    declared = None
    if mean is not None and scale is not None:
        declared = Preprocessing(channels=options["channels"], mean=mean, scale=scale)
    opened = open_onnx(path, declared)
    return Source(lambda: opened.network, opened.batch_size or options["batch_size"], path)
