"""Where embeddings come from, as the command line says it: a checkpoint or a model file."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Literal, TypedDict

from arcface_api.errors import InvalidInput
from arcface_evaluator.networks import mindspore_network
from arcface_faces.checkpoint import MANIFEST_FILE, checkpoint_folder
from arcface_faces.embedding.embedder import Embedder, LoadNetwork
from arcface_faces.embedding.multi_process import open_embedder
from arcface_faces.images import Preprocessing

BATCH_SIZE = 64
"""Where none is asked for."""


class NetworkOptions(TypedDict):
    """Options of the commands that embed images."""

    checkpoint: Path | None
    model: Path | None
    mean: float | None
    scale: float | None
    channels: Literal["RGB", "BGR"]
    batch_size: int
    ranks: int


@dataclass(frozen=True, slots=True)
class Source:
    """A network that is loaded when it is needed."""

    load: LoadNetwork
    """Also for other processes: a function of a module with its arguments."""
    batch_size: int
    ranks: int
    """Processes that embed."""
    identity: Path
    """File that stands for the network: the checkpoint's manifest, which holds all hashes, or the model."""
    checkpoint: Path | None = None
    """Folder of the checkpoint."""

    def embedder(self) -> AbstractContextManager[Embedder]:
        """Embeds with the network, in as many processes as there are ranks."""
        return open_embedder(self.load, self.batch_size, self.ranks)


def checkpoint_source(folder: Path, ranks: int, batch_size: int = BATCH_SIZE) -> Source:
    """The network of the checkpoint in this very folder."""
    load = partial(mindspore_network.load_checkpoint, folder)
    return Source(load, batch_size, ranks, folder / MANIFEST_FILE, folder)


def open_source(options: NetworkOptions) -> Source | None:
    """The checkpoint or model that is asked for; None where neither is."""
    if options["checkpoint"]:
        if options["mean"] is not None or options["scale"] is not None:
            raise InvalidInput("--mean and --scale are for --model: a checkpoint says itself how images are prepared")
        mindspore_network.require_mindspore(options["checkpoint"])
        folder = checkpoint_folder(options["checkpoint"])
        return checkpoint_source(folder, options["ranks"], options["batch_size"])
    return _open_model(options["model"], options) if options["model"] else None


def _open_model(path: Path, options: NetworkOptions) -> Source:
    """A MindIR file, or an ONNX file, whose batch counts where it has a fixed one."""
    declared = _declared_preprocessing(options)
    if path.suffix == ".mindir":
        # Looked at here, too, so that what is wrong is told before any image is read.
        mindspore_network.require_mindspore(path)
        preprocessing = mindspore_network.read_preprocessing(path, declared)
        return Source(
            partial(mindspore_network.load_mindir, path, preprocessing), options["batch_size"], options["ranks"], path
        )
    # Imported here: onnxruntime takes a moment to load.
    from arcface_faces.embedding.onnx_network import load_onnx, open_onnx  # noqa: PLC0415

    batch_size = open_onnx(path, declared).batch_size or options["batch_size"]
    return Source(partial(load_onnx, path, declared), batch_size, options["ranks"], path)


def _declared_preprocessing(options: NetworkOptions) -> Preprocessing | None:
    """What the command line says about the preprocessing."""
    mean, scale = options["mean"], options["scale"]
    if (mean is None) != (scale is None):
        raise InvalidInput("give --mean and --scale together")
    if mean is None or scale is None:
        return None
    if not (isfinite(mean) and isfinite(scale) and scale > 0):
        raise InvalidInput(f"--mean {mean:g} --scale {scale:g}: both must be finite and --scale above 0")
    return Preprocessing(channels=options["channels"], mean=mean, scale=scale)
