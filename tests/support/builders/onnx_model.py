"""A small network as an ONNX file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from arcface_faces.images import METADATA_KEY

SIZES = {"embedding": 147, "norm": 1}
"""Numbers an image."""
BIAS = np.zeros(147, np.float32)
WEIGHTS = BIAS.tobytes()
"""What belongs into a file beside a model."""


def corner_model(
    path: Path,
    batch: str | int = "N",
    side: int | str = 112,
    metadata: str | None = None,
    reverse: bool = False,
    outputs: Sequence[str] = ("embedding",),
) -> Path:
    """`corner_network` as a file; `reverse` takes BGR; `outputs` may hold the `norm` of the embeddings, too."""
    channels = {"starts": [2], "ends": [-4], "steps": [-1]} if reverse else {"starts": [0], "ends": [3], "steps": [1]}
    constants = {
        **{name: np.array(values, np.int64) for name, values in channels.items()},
        "channel": np.array([1], np.int64),
        "corner_starts": np.array([0, 0], np.int64),
        "corner_ends": np.array([56, 56], np.int64),
        "corner_axes": np.array([2, 3], np.int64),
        "corner_steps": np.array([8, 8], np.int64),
        "flat": np.array([0, -1], np.int64),
        "bias": BIAS,
    }
    nodes = [
        helper.make_node("Slice", ["pixels", "starts", "ends", "channel", "steps"], ["ordered"]),
        helper.make_node(
            "Slice", ["ordered", "corner_starts", "corner_ends", "corner_axes", "corner_steps"], ["corner"]
        ),
        helper.make_node("Reshape", ["corner", "flat"], ["flattened"]),
        helper.make_node("Add", ["flattened", "bias"], ["embedding"]),
        helper.make_node("ReduceL2", ["embedding"], ["norm"], axes=[1], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, SIZES[name]]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    onnx.save(model, path)
    return path


def with_weights_beside(path: Path, location: str) -> Path:
    """Name another file, which is not written, for the bias of a model."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", "0"), ("length", str(len(WEIGHTS)))):
                tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path
