"""What embeds images, as the command line names it: a checkpoint, a MindIR file with `FILE.json` beside it, or ONNX.

The one place that sees the trainer. MindSpore and the trainer's network are imported where one is loaded and nowhere
else: they take seconds, and embeddings and ONNX files are judged without them.
"""

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_api.resource.spec import Accelerator
from arcface_faces.checkpoint import MANIFEST_FILE, checkpoint_folder
from arcface_faces.embedding import batches
from arcface_faces.embedding.embedder import Embedder, LoadNetwork, Network, open_embedder
from arcface_faces.images import Preprocessing, resolve_preprocessing

NEEDED = {"arcface_trainer": "arcface-trainer", "mindspore": "mindspore"}
"""Package and distribution of what `arcface-evaluator[mindspore]` brings."""
CRITICAL_ONLY = "4"
REFUSALS = (RuntimeError, ValueError, TypeError)
"""What MindSpore raises for files and inputs that it does not like."""
BATCH_SIZE = 64
"""Where none is asked for."""
WIDEST = 1.5
"""Of prepared pixels, beyond which it is worth a hint."""
SOURCES = ("checkpoint", "model", "embeddings")
"""Options of which one is given."""
APPLIES_TO = {
    "mean": ("model",),
    "scale": ("model",),
    "channels": ("model",),
    "output_name": ("model",),
    "batch_size": ("checkpoint", "model"),
    "ranks": ("checkpoint", "model"),
    "cache": ("checkpoint",),
    "views": ("embeddings",),
    "resize": ("checkpoint", "model"),
    "links": ("checkpoint", "model"),
}
"""The sources that each other option is for."""
SPELLINGS = {"output_name": "--output", "cache": "--cache/--no-cache"}
LOG = logging.getLogger(__name__)


def _require_mindspore(path: Path) -> None:
    """InvalidInput where what runs a checkpoint or a MindIR file is not installed."""
    missing = [distribution for package, distribution in NEEDED.items() if find_spec(package) is None]
    if missing:
        raise InvalidInput(
            f"{path}: needs {' and '.join(missing)}, not installed here: install arcface-evaluator[mindspore], or give "
            "--embeddings or an ONNX file"
        )


def load_checkpoint(folder: Path, accelerator: Accelerator | None = None) -> Network:
    """Network of a checkpoint, on a card where there are any unless said otherwise.

    Raises:
        InvalidInput: where it is damaged.
        ArcFaceError: where a card is asked for and none can be used.
    """
    _prepare_environment(folder, {})
    from arcface_trainer.network.inference import load_on_device  # noqa: PLC0415 - see above

    return load_on_device(folder, accelerator)


def found_accelerator(folder: Path) -> Accelerator:
    """What the network of a checkpoint in a folder computes on unless said otherwise."""
    _prepare_environment(folder, {})
    from arcface_trainer.network import inference  # noqa: PLC0415 - see above

    return inference.found_accelerator()


def read_preprocessing(path: Path, declared: Preprocessing | None) -> Preprocessing:
    """What the file beside a MindIR file says, or what is declared."""
    beside = path.with_name(f"{path.name}.json")
    with explained(beside, "cannot be read", "give this user the right to read it"):
        if not path.is_file():
            raise InvalidInput(f"{path}: is no file; correct --model")
        stored = beside.read_bytes() if beside.exists() else None
    return resolve_preprocessing(path, stored, str(beside), declared)


def _load_mindir(path: Path, preprocessing: Preprocessing) -> Network:
    """The network in a MindIR file; InvalidInput where MindSpore cannot load it, or it takes something else."""
    # What MindSpore logs at its own errors is told by ours.
    _prepare_environment(path, {"GLOG_v": CRITICAL_ONLY})
    from arcface_trainer.export.network import open_mindir  # noqa: PLC0415 - see above

    try:
        run = open_mindir(path)
    except REFUSALS as error:
        if batches.is_out_of_memory(error):
            raise batches.no_memory(path, "to load it") from None
        raise InvalidInput(f"{path}: MindSpore cannot load it ({_first_line(error)})") from None

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return run(preprocessing.prepare(images))
        except REFUSALS as error:
            raise batches.refusal(path, images, error) from None

    return batches.ConstantBatches(embed)


def _prepare_environment(path: Path, defaults: dict[str, str]) -> None:
    """Set what MindSpore reads once, when it is loaded; on Ascend the settings for the CPU do no harm."""
    _require_mindspore(path)
    from arcface_trainer.device import compute_environment  # noqa: PLC0415 - see above

    os.environ.update(compute_environment({**defaults, **os.environ}, "cpu"))


def _first_line(error: Exception) -> str:
    """What an error of MindSpore says, without the places in its sources."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class NetworkOptions(TypedDict):
    """Options of the commands that embed images."""

    checkpoint: Path | None
    model: Path | None
    mean: float | None
    scale: float | None
    channels: Literal["RGB", "BGR"] | None
    output_name: str | None
    batch_size: int | None
    ranks: int | None


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
    weights: tuple[Path, ...] = ()
    """Files with weights of a model that lie beside it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What the embeddings depend on."""
        return self.identity, *self.weights

    def embedder(self) -> AbstractContextManager[Embedder]:
        """Embeds with the network, in as many processes as there are ranks."""
        return open_embedder(self.load, self.batch_size, self.ranks)


def checkpoint_source(
    folder: Path, ranks: int, batch_size: int = BATCH_SIZE, accelerator: Accelerator | None = None
) -> Source:
    """The network of the checkpoint in this very folder, on a card where there are any unless said otherwise."""
    load = partial(load_checkpoint, folder, accelerator)
    return Source(load, batch_size, ranks, folder / MANIFEST_FILE, folder)


def open_source(options: NetworkOptions, **others: object) -> Source | None:
    """The checkpoint or model that is asked for; None where there are `embeddings` among the options instead.

    Raises:
        InvalidInput: also where an option is given that does not apply: it would be thought to have had an effect.
    """
    given = {name for name, value in {**options, **others}.items() if value is not None and value != ()}
    *most, last = (_spelled(source) for source in SOURCES if source in options)
    sources = given & set(SOURCES)
    if len(sources) != 1:
        raise InvalidInput(f"give one of {', '.join(most)} and {last}")
    (source,) = sources
    for option in sorted(given & APPLIES_TO.keys()):
        if source not in APPLIES_TO[option]:
            raise InvalidInput(
                f"{_spelled(option)} is for {' and '.join(map(_spelled, APPLIES_TO[option]))}: leave it out with "
                f"{_spelled(source)}"
            )
    batch_size, ranks = options["batch_size"] or BATCH_SIZE, options["ranks"] or 1
    if options["model"]:
        return _open_model(options["model"], options, batch_size, ranks)
    if options["checkpoint"] is None:
        return None
    _require_mindspore(options["checkpoint"])
    return checkpoint_source(checkpoint_folder(options["checkpoint"]), ranks, batch_size)


def _spelled(option: str) -> str:
    """As on the command line."""
    return SPELLINGS.get(option, f"--{option.replace('_', '-')}")


def _open_model(path: Path, options: NetworkOptions, batch_size: int, ranks: int) -> Source:
    """A MindIR file, or an ONNX file, whose batch counts where it has a fixed one."""
    declared = _declared_preprocessing(options)
    name = options["output_name"]
    if path.suffix == ".mindir":
        if name is not None:
            raise InvalidInput(f"--output {name}: is for ONNX files; leave it out with {path}")
        # Looked at here, too, so that what is wrong is told before any image is read.
        _require_mindspore(path)
        preprocessing = read_preprocessing(path, declared)
        _hint_at_range(path, preprocessing)
        return Source(partial(_load_mindir, path, preprocessing), batch_size, ranks, path)
    # Imported here: onnxruntime takes a moment to load.
    from arcface_faces.embedding.onnx_network import load_onnx, open_onnx  # noqa: PLC0415

    opened = open_onnx(path, declared, name)
    _hint_at_range(path, opened.preprocessing)
    if opened.batch_size and options["batch_size"] not in {None, opened.batch_size}:
        raise InvalidInput(f"--batch-size {batch_size}: {path} takes {opened.batch_size} at a time: leave it out")
    load = partial(load_onnx, path, declared, name)
    return Source(load, opened.batch_size or batch_size, ranks, path, weights=opened.files[1:])


def _hint_at_range(path: Path, preprocessing: Preprocessing) -> None:
    """Networks of faces are trained on numbers of about one; others are a mistake more often than not."""
    low, high = preprocessing.interval
    if low < -WIDEST or high > WIDEST:
        LOG.warning(
            "hint: %s takes pixels prepared as %g to %g, where most networks take -1 to 1: check mean and scale",
            path,
            low,
            high,
        )


def _declared_preprocessing(options: NetworkOptions) -> Preprocessing | None:
    """What the command line says about the preprocessing."""
    mean, scale, channels = options["mean"], options["scale"], options["channels"]
    if (mean is None) != (scale is None):
        raise InvalidInput("give --mean and --scale together")
    if mean is None or scale is None:
        if channels is not None:
            raise InvalidInput(f"--channels {channels}: goes with --mean and --scale; give them or leave it out")
        return None
    if not (np.isfinite(mean) and np.isfinite(scale) and scale > 0):
        raise InvalidInput(f"--mean {mean:g} --scale {scale:g}: both must be finite and --scale above 0")
    return Preprocessing(channels=channels or "RGB", mean=mean, scale=scale)
