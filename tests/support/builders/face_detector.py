"""An ONNX file of YuNet's form that finds faces where a pattern of colours is: no trained weights."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
KEYPOINTS = ((-0.6, -0.5), (0.6, -0.5), (0.0, 0.0), (-0.5, 0.6), (0.5, 0.6))
"""Eyes, nose and corners of the mouth about the corner of a cell, in strides of 32 pixels."""


def detector_model(path: Path, kinds: tuple[str, ...] = ("cls", "obj", "bbox", "kps"), columns: int = 10) -> Path:
    """A face of 64x64 pixels about the corner of each cell of 32x32 that is red, surer the redder it is.

    The value of a cell is the red (the third channel of BGR) at its corner, over 255; all else is constant. The other
    strides answer that there is nothing.
    """
    nodes, constants, outputs = [], {}, []

    def constant(name: str, value: np.ndarray) -> str:
        constants[name] = value
        return name

    column = constant("column", np.array([1, -1, 1], np.int64))
    for stride in STRIDES:
        pick = np.array([0, 0, 1 / 255 if stride == STRIDES[-1] else 0], np.float32).reshape(1, 3, 1, 1)
        red = constant(f"pick_{stride}", pick)
        nodes += [
            helper.make_node("Conv", ["input", red], [f"red_{stride}"], kernel_shape=[1, 1], strides=[stride, stride]),
            helper.make_node("Reshape", [f"red_{stride}", column], [f"s_{stride}"]),
        ]
        for kind in kinds:
            name = f"{kind}_{stride}"
            row = {
                "cls": [0.0],
                "obj": [0.0],
                "bbox": [0.0, 0.0, np.log(2.0), np.log(2.0)],
                "kps": np.resize(np.ravel(KEYPOINTS), columns),
            }[kind]
            offset = constant(f"row_{name}", np.array([[row]], np.float32))
            weight = constant(f"weight_{name}", np.full((1, 1, len(row)), float(kind in {"cls", "obj"}), np.float32))
            nodes += [
                helper.make_node("Mul", [f"s_{stride}", weight], [f"scaled_{name}"]),
                helper.make_node("Add", [f"scaled_{name}", offset], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "cells", len(row)]))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", [entry], outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
