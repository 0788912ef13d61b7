"""Names of the formats that networks are exported in; apart, so that `--help` loads no MindSpore."""

from typing import Literal

Format = Literal["mindir", "onnx", "air"]
