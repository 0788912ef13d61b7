"""Parameters as one vector: what is done to all of them takes one kernel instead of one for each.

The network's parameters stay tensors of their own, since MindSpore 2.10 has no parameters that are views of one buffer:
their values are joined by one kernel, a vector is taken apart by another (on a CPU by a slice a tensor), and each
tensor costs the one kernel that writes it back.

Tensor suffix: P elements of the parameters, laid end to end in their order.
"""

import math

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize
from numpy.typing import NDArray

MOST_PARTS = 100
"""Of one split: MindSpore checks its sizes by a loop, three calls deep for each, and allows 1,000 calls in all."""


class FlatParameters(nn.Cell):
    """Some parameters, read and written as one vector."""

    def __init__(self, parameters: list[Parameter]) -> None:
        super().__init__()
        self.parameters = ParameterTuple(parameters)
        self.shapes = tuple(parameter.shape for parameter in parameters)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.blocks = tuple(self.sizes[start : start + MOST_PARTS] for start in range(0, len(parameters), MOST_PARTS))
        self.block_sizes = tuple(sum(block) for block in self.blocks)
        # ops.split is a slice for each unequal part; this is one kernel on Ascend, and slices on a CPU, too.
        self.take_apart = SplitWithSize()
        self.each = ops.HyperMap()

    @property
    def size(self) -> int:
        """P."""
        return sum(self.sizes)

    def construct(self) -> Tensor:
        """Their values (P,) at this point of the graph."""
        return joined(self.parameters)

    def subtract(self, change_P: Tensor) -> None:
        """Take a vector off them."""
        self.each(_subtract, self.parameters, self._parts(change_P))

    def assign(self, values_P: Tensor) -> None:
        """Give them new values."""
        self.each(_assign, self.parameters, self._parts(values_P))

    def _parts(self, vector_P: Tensor) -> tuple[Tensor, ...]:
        if len(self.sizes) == 1:
            return (vector_P,)
        blocks = self.take_apart(vector_P, self.block_sizes, 0) if len(self.blocks) > 1 else (vector_P,)
        parts: tuple[Tensor, ...] = ()
        for index, vector in enumerate(blocks):
            parts = parts + self.take_apart(vector, self.blocks[index], 0)
        return parts

    def pieces(self, vector_P: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Views of a vector on the host: what of it belongs to each parameter, in its shape."""
        pieces = np.split(vector_P, np.cumsum(self.sizes)[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


# Loops over tensors are maps here: a loop of Python's is a call within a call to MindSpore, which allows 1,000 of them.
def joined(tensors: tuple[Tensor, ...]) -> Tensor:
    """Tensors laid end to end."""
    return ops.concat(ops.HyperMap()(_flat, tensors)) if len(tensors) > 1 else _flat(tensors[0])


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1)


def _subtract(parameter: Parameter, change_P: Tensor) -> Tensor:
    return ops.assign_sub(parameter, change_P.reshape(parameter.shape))


def _assign(parameter: Parameter, values_P: Tensor) -> Tensor:
    return ops.assign(parameter, values_P.reshape(parameter.shape))
