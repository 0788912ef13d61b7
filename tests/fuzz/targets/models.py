"""ONNX files: the weights that they name beside them, and their metadata on how images are prepared."""

import json
import math
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from arcface_faces import images
from arcface_faces.embedding import onnx_file
from fuzz import scratch
from fuzz.mutation import mutate_json
from fuzz.target import Target
from support.builders.onnx_model import corner_model, with_weights_beside


def targets() -> list[Target]:
    """Of models."""
    return [
        Target(name="onnx", samples=_models(), read=_files, agrees=_are_those_files),
        Target(name="preprocessing", samples=_PREPARED, read=_prepared, agrees=_is_so_prepared, mutate=mutate_json),
    ]


def _models() -> list[bytes]:
    path = scratch.folder() / "sample.onnx"
    plain = corner_model(path).read_bytes()
    (scratch.folder() / "weights").write_bytes(b"")
    return [plain, with_weights_beside(corner_model(path), "weights").read_bytes(), _nested()]


def _nested() -> bytes:
    """Weights named within an attribute's graph."""
    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    node = onnx.NodeProto(op_type="If")
    node.attribute.add(name="then", g=onnx.GraphProto(initializer=[tensor]))
    model: bytes = onnx.ModelProto(graph=onnx.GraphProto(node=[node])).SerializeToString()
    return model


def _files(data: bytes) -> list[Path]:
    return onnx_file.external_files(scratch.write("model.onnx", data))


def _are_those_files(data: bytes, value: list[Path]) -> bool:
    """All that the library for these files finds named lies in the folder and is told."""
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, UnicodeDecodeError):  # of one or the other implementation of protobuf
        return True  # whoever loads it says so
    # A key that comes twice is read by one as the first, by another as the last: both are looked at.
    named = {entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"}
    return named <= {path.name for path in value} | {str(path.relative_to(scratch.folder())) for path in value}


def _tensors(message: Any) -> Any:
    """Every tensor within a message of any kind."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if not hasattr(value, "ListFields") else [value]:
                yield from _tensors(part)


_PREPARED = [images.OWN_PREPROCESSING.to_json().encode(), b'{"mean": 0.0, "scale": 1.0, "channels": "BGR"}']


def _prepared(data: bytes) -> images.Preprocessing:
    return images.resolve_preprocessing(Path("model.onnx"), data, "model.onnx: metadata", None)


def _is_so_prepared(data: bytes, value: images.Preprocessing) -> bool:
    told = json.loads(data)
    is_number = math.isfinite(value.mean) and math.isfinite(value.scale) and value.scale > 0
    is_told = (float(told["mean"]), float(told["scale"])) == (value.mean, value.scale)
    return is_number and is_told and told.get("channels", "RGB") == value.channels
