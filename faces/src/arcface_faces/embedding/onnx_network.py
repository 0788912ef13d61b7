"""A network in an ONNX file as a plain function; `arcface export` writes the preprocessing into the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.embedding import batches, onnx_file
from arcface_faces.embedding.embedder import Network
from arcface_faces.images import IMAGE_SIZE, METADATA_KEY, Preprocessing, resolve_preprocessing
from arcface_faces.positioned_file import open_regular

FLOAT = "tensor(float)"
TAKEN = (3, IMAGE_SIZE, IMAGE_SIZE)
"""Shape of the input without the batch."""


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """An opened file."""

    network: Network
    batch_size: int | None
    """Images that it takes at once; None: any number."""
    preprocessing: Preprocessing
    files: tuple[Path, ...]
    """The model, and the files with its weights."""


def open_onnx(path: Path, declared: Preprocessing | None, output: str | None = None) -> OnnxNetwork:
    """Open a file.

    Args:
        path: the model; weights may lie beside it.
        declared: needed where the file itself says nothing of how images are prepared, refused where it says otherwise.
        output: name of the embeddings among several outputs.

    Raises:
        InvalidInput: where the file is no network from images to embeddings, or it is unclear which output they are.
        ArcFaceError: where memory is short.
    """
    session, files = _session(path)
    stored = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    preprocessing = resolve_preprocessing(path, stored, f"{path}: metadata {METADATA_KEY}", declared)
    entry, batch = _entry(path, session)
    chosen = _chosen_output(path, session, output)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (answer,) = session.run([chosen], {entry: preprocessing.prepare(images)})
        except Exception as error:  # noqa: BLE001 - onnxruntime's own classes share no other base
            raise batches.refusal(path, images, error) from None
        return np.asarray(answer, np.float32)

    network = embed if batch is None else batches.ConstantBatches(embed, batch)
    return OnnxNetwork(network, batch, preprocessing, files)


def load_onnx(path: Path, declared: Preprocessing | None, output: str | None = None) -> Network:
    """The network alone."""
    return open_onnx(path, declared, output).network


def _session(path: Path) -> tuple[Any, tuple[Path, ...]]:
    """Opened by its path, so that weights beside it are found from any working directory; and all files of it."""
    with explained(path, "cannot be read", "correct --model"):
        open_regular(path).close()
    files = (path, *onnx_file.external_files(path))
    try:
        return onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers()), files
    except Exception as error:  # noqa: BLE001 - onnxruntime's own classes share no other base
        if batches.is_out_of_memory(error):
            raise batches.no_memory(path, "to load it") from None
        raise InvalidInput(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from None


def _entry(path: Path, session: Any) -> tuple[str, int | None]:
    """Name of the input, and the batch that it takes; None: any."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != FLOAT or not _takes_images(list(inputs[0].shape)):
        raise InvalidInput(
            f"{path}: takes {_shapes(inputs)}; it must take one float tensor (N, 3, {IMAGE_SIZE}, {IMAGE_SIZE})"
        )
    batch = inputs[0].shape[0]
    return inputs[0].name, batch if isinstance(batch, int) else None


def _takes_images(shape: list[object]) -> bool:
    """Whether images fit; sides that are named instead of numbered are free."""
    sizes = shape[1:]
    return len(sizes) == len(TAKEN) and all(
        size == taken or not isinstance(size, int) for size, taken in zip(sizes, TAKEN, strict=True)
    )


def _chosen_output(path: Path, session: Any, name: str | None) -> str:
    """Name of the output that holds the embeddings: the only one, or the one that is asked for."""
    outputs = {output.name: output for output in session.get_outputs()}
    if name is None and len(outputs) > 1:
        raise InvalidInput(f"{path}: has several outputs ({_shapes(outputs.values())}): say which with --output NAME")
    chosen = outputs.get(next(iter(outputs)) if name is None else name)
    if chosen is None:
        raise InvalidInput(f"{path}: has no output {name!r} but {_shapes(outputs.values())}: correct --output")
    if len(chosen.shape) == 2 and chosen.shape[1] == 1:
        raise InvalidInput(f"{path}: output {_shapes([chosen])} is one number an image and no embedding: {OTHER}")
    return str(chosen.name)


OTHER = "name another with --output"


def _shapes(values: Any) -> str:
    return ", ".join(f"{value.name}: {value.type} {value.shape}" for value in values)
