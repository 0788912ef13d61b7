"""A network in an ONNX file as a plain function, with the preprocessing that the file or the user declares.

`arcface export` writes the preprocessing into the file; other files need it on the command line, since a wrong one
costs accuracy and raises no error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from arcface_api.errors import InvalidInput
from arcface_api.model import Model
from arcface_evaluator.embedder import Network
from arcface_trainer.backbone_input import IMAGE_SIZE as SIDE
from arcface_trainer.export_format import METADATA_KEY


class Preprocessing(Model):
    """From the pixels of an aligned picture to what a model takes."""

    model_config = ConfigDict(extra="ignore")

    channels: Literal["RGB", "BGR"] = "RGB"
    """Their order."""
    mean: float
    """Subtracted from each pixel."""
    scale: float = Field(gt=0)
    """Divides the difference."""


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """An opened file."""

    network: Network
    batch_size: int | None
    """Pictures that it takes at once; None: any number."""


def open_onnx(path: Path, declared: Preprocessing | None) -> OnnxNetwork:
    """Open a file; `declared` is needed where the file itself says nothing, and refused where it says otherwise."""
    session = _session(path)
    preprocessing = _preprocessing(path, session, declared)
    entry, batch = _entry(path, session)

    def embed(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = (pictures.astype(np.float32) - np.float32(preprocessing.mean)) / np.float32(preprocessing.scale)
        if preprocessing.channels == "BGR":
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        return np.asarray(session.run(None, {entry: pixels})[0], np.float32)

    return OnnxNetwork(embed, batch if isinstance(batch, int) else None)


def _session(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); correct --model") from None
    try:
        return onnxruntime.InferenceSession(data, providers=onnxruntime.get_available_providers())
    except Exception as error:  # noqa: BLE001 - onnxruntime's own classes share no other base
        raise InvalidInput(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from None


def _preprocessing(path: Path, session: Any, declared: Preprocessing | None) -> Preprocessing:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        if declared is None:
            raise InvalidInput(f"{path}: does not say how pictures are prepared; give --mean, --scale and --channels")
        return declared
    stored = Preprocessing.from_json(text, f"{path}: metadata {METADATA_KEY}")
    if declared is not None and declared != stored:
        raise InvalidInput(f"{path}: says itself how pictures are prepared; leave --mean, --scale and --channels out")
    return stored


def _entry(path: Path, session: Any) -> tuple[str, object]:
    """Name of the input, and the batch that it takes: a number, or something else where any will do."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or list(inputs[0].shape)[1:] != [3, SIDE, SIDE]:
        shapes = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise InvalidInput(f"{path}: takes {shapes}; it must take one float tensor (N, 3, {SIDE}, {SIDE})")
    return inputs[0].name, inputs[0].shape[0]
