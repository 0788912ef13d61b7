"""Batches that networks take, and what it means when they refuse one."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.embedding.embedder import Network

MEMORY = re.compile(
    r"out of memory|bad_alloc|bad allocation|memory not enough|fail\w* to alloc|malloc|alloc\w* fail", re.I
)
"""What onnxruntime, MindSpore, CUDA and C++ say where memory is short."""


class ConstantBatches:
    """A network that meets one shape, or few.

    Graph compilers compile anew for each shape: a batch is filled with black images up to the largest one so far, whose
    embeddings are dropped. A first batch smaller than what it may be is not filled.
    """

    def __init__(self, network: Network, size: int = 1) -> None:
        """Have `network` meet batches of `size` at least; it is exact where no larger one comes."""
        self.network = network
        self.size = size

    def __call__(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Embeddings (B, D) of images (B, 3, H, W)."""
        self.size = max(self.size, len(images))
        padded = np.zeros((self.size, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        answer = self.network(padded)
        return answer[: len(images)] if len(answer) == self.size else answer


def is_out_of_memory(error: Exception) -> bool:
    """Whether a framework's error speaks of memory."""
    return isinstance(error, MemoryError) or MEMORY.search(str(error)) is not None


def no_memory(path: Path, purpose: str) -> ArcFaceError:
    """Says nothing about the model: a smaller batch or another moment may do."""
    return ArcFaceError(f"{path}: there is not enough memory {purpose}: lower --batch-size or free memory")


def refusal(path: Path, images: NDArray[np.uint8], error: Exception) -> ArcFaceError:
    """What a framework's error over a batch means."""
    if is_out_of_memory(error):
        return no_memory(path, f"for {len(images)} images at once")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InvalidInput(f"{path}: takes no float32 images {images.shape} ({reason})")
