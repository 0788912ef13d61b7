"""Parameters as one vector: what is done to all of them takes one kernel instead of one for each.

The network's parameters stay tensors of their own, since MindSpore 2.10 has no parameters that are views of one buffer:
their values are joined by one kernel, a vector is taken apart by another, and each tensor costs the one kernel that
writes it back.

Tensor suffix: P elements of the parameters, laid end to end in their order.
"""

import math

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize
from numpy.typing import NDArray


class FlatParameters(nn.Cell):
    """Some parameters, read and written as one vector."""

    def __init__(self, parameters: list[Parameter]) -> None:
        super().__init__()
        self.parameters = ParameterTuple(parameters)
        self.shapes = tuple(parameter.shape for parameter in parameters)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        # The one split into unequal parts that is one kernel on CPU and Ascend: ops.split is a slice for each part.
        self.take_apart = SplitWithSize()
        self.subtract_from = ops.AssignSub()

    @property
    def size(self) -> int:
        """P."""
        return sum(self.sizes)

    def construct(self) -> Tensor:
        """Their values (P,) at this point of the graph."""
        return joined(self.parameters)

    def subtract(self, change_P: Tensor) -> None:
        """Take a vector off them."""
        parts = self._parts(change_P)
        for index in range(len(self.parameters)):
            self.subtract_from(self.parameters[index], parts[index].reshape(self.shapes[index]))

    def assign(self, values_P: Tensor) -> None:
        """Give them new values."""
        parts = self._parts(values_P)
        for index in range(len(self.parameters)):
            ops.assign(self.parameters[index], parts[index].reshape(self.shapes[index]))

    def _parts(self, vector_P: Tensor) -> tuple[Tensor, ...]:
        return self.take_apart(vector_P, self.sizes, 0) if len(self.sizes) > 1 else (vector_P,)

    def pieces(self, vector_P: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Views of a vector on the host: what of it belongs to each parameter, in its shape."""
        pieces = np.split(vector_P, np.cumsum(self.sizes)[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


def joined(tensors: tuple[Tensor, ...]) -> Tensor:
    """Tensors laid end to end."""
    if len(tensors) == 1:
        return tensors[0].reshape(-1)
    return ops.concat([tensor.reshape(-1) for tensor in tensors])
