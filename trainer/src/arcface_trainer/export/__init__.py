"""A checkpoint as a model file of other tools. Imports network."""

from typing import Literal

Format = Literal["mindir", "onnx", "air"]
"""Here and not beside the writers, since it must be known without MindSpore."""
