"""An IResNet in NumPy and float64, written down from the paper and not from our code: what MindSpore is held to.

`lower` is applied where a device of lower precision holds a number in it: to what an operator of the trunk takes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Lower = Callable[[Array], Array]
EPSILON = 1e-5


def exact(x: Array) -> Array:
    """No lower precision."""
    return x


def to_float16(x: Array) -> Array:
    """Rounded to the nearest float16, ties to even; Inf beyond 65,520."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32).astype(np.float16).astype(np.float64)


def to_bfloat16(x: Array) -> Array:
    """Rounded to the nearest bfloat16, ties to even: the upper half of a float32's bits."""
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64)


class Float64Network:
    """An IResNet in training: batch normalisation goes by the statistics of the images it is given.

    `weights` go by the names of a checkpoint.
    """

    def __init__(self, weights: dict[str, Array], lower: Lower) -> None:
        self.weights, self.lower = weights, lower

    def embeddings(self, images: Array, stride: int) -> Array:
        """(B, 3, H, W) in [-1, 1] to (B, D); `stride` is the first convolution's."""
        x, number = self.stem(images, stride), 0
        while f"stages.{number}.conv1.weight" in self.weights:
            x, number = self.block(number, x), number + 1
        return self.tail(x)

    def stem(self, images: Array, stride: int) -> Array:
        """Before the blocks."""
        return self.prelu("stem.2", self.norm("stem.1", self.conv("stem.0", images, stride)))

    def block(self, number: int, x: Array) -> Array:
        """One of the residual blocks."""
        name = f"stages.{number}"
        has_projection = f"{name}.projection.0.weight" in self.weights
        stride = 2 if has_projection else 1
        y = self.conv(f"{name}.conv1", self.norm(f"{name}.norm1", x), 1)
        y = self.prelu(f"{name}.activation", self.norm(f"{name}.norm2", y))
        y = self.norm(f"{name}.norm3", self.conv(f"{name}.conv2", y, stride))
        if has_projection:
            x = self.norm(f"{name}.projection.1", self.conv(f"{name}.projection.0", x, stride))
        return self.lower(y) + self.lower(x)

    def tail(self, x: Array) -> Array:
        """After the blocks: from the embedding layer on nothing is rounded."""
        flat = self.lower(self.norm("norm", x)).reshape(len(x), -1)
        dense = flat @ self.weights["embedding.weight"].T + self.weights["embedding.bias"]
        return _normalised(dense, self.weights["features.gamma"], self.weights["features.beta"])

    def conv(self, name: str, x: Array, stride: int) -> Array:
        """Convolution."""
        kernel = self.lower(self.weights[f"{name}.weight"])
        pad = kernel.shape[2] // 2
        padded = np.pad(self.lower(x), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
        return np.einsum("bihwkl,oikl->bohw", windows[:, :, ::stride, ::stride], kernel, optimize=True)

    def norm(self, name: str, x: Array) -> Array:
        """Batch normalisation."""
        gamma, beta = (self.weights[f"{name}.{part}"][:, None, None] for part in ("gamma", "beta"))
        return _normalised(self.lower(x), gamma, beta)

    def prelu(self, name: str, x: Array) -> Array:
        """PReLU."""
        slope = self.lower(self.weights[f"{name}.w"])[:, None, None]
        lowered = self.lower(x)
        return np.where(lowered > 0, lowered, slope * lowered)


def _normalised(x: Array, gamma: Array, beta: Array) -> Array:
    axes = (0,) if x.ndim == 2 else (0, 2, 3)
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
