"""What writers and readers of exported networks agree on; apart, since it must be known without MindSpore."""

from typing import Literal

Format = Literal["mindir", "onnx", "air"]
