"""A network in an ONNX file as a plain function; `arcface export` writes the preprocessing into the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces.embedding.embedder import Network
from arcface_faces.images import IMAGE_SIZE, METADATA_KEY, Preprocessing, resolve_preprocessing

TAKEN = ("tensor(float)", [3, IMAGE_SIZE, IMAGE_SIZE])
"""Type and shape of the input, without the batch."""


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """An opened file."""

    network: Network
    batch_size: int | None
    """Images that it takes at once; None: any number."""


def open_onnx(path: Path, declared: Preprocessing | None) -> OnnxNetwork:
    """Open a file; `declared` is needed where the file itself says nothing, and refused where it says otherwise."""
    session = _session(path)
    stored = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    preprocessing = resolve_preprocessing(path, stored, f"{path}: metadata {METADATA_KEY}", declared)
    entry, batch = _entry(path, session)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            answer = session.run(None, {entry: preprocessing.prepare(images)})[0]
        except Exception as error:  # noqa: BLE001 - onnxruntime's own classes share no other base
            shape = images.shape
            raise InvalidInput(f"{path}: takes no float32 images {shape} ({str(error).splitlines()[0]})") from None
        return np.asarray(answer, np.float32)

    return OnnxNetwork(embed, batch if isinstance(batch, int) else None)


def load_onnx(path: Path, declared: Preprocessing | None) -> Network:
    """The network alone."""
    return open_onnx(path, declared).network


def _session(path: Path) -> Any:
    with explained(path, "cannot be read", "correct --model"):
        data = path.read_bytes()
    try:
        return onnxruntime.InferenceSession(data, providers=onnxruntime.get_available_providers())
    except Exception as error:  # noqa: BLE001 - onnxruntime's own classes share no other base
        raise InvalidInput(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from None


def _entry(path: Path, session: Any) -> tuple[str, object]:
    """Name of the input, and the batch that it takes: a number, or something else where any will do."""
    inputs = session.get_inputs()
    if [(entry.type, list(entry.shape)[1:]) for entry in inputs] != [TAKEN]:
        shapes = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise InvalidInput(f"{path}: takes {shapes}; it must take one float tensor (N, 3, {IMAGE_SIZE}, {IMAGE_SIZE})")
    return inputs[0].name, inputs[0].shape[0]
