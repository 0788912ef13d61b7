"""Parameters as one vector."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from arcface_trainer.step.flat import FlatParameters

SHAPES = [(2, 3), (4,), (2, 2, 1, 1)]


class Write(nn.Cell):
    """Assigns or subtracts a vector in a graph, and reads the parameters after that."""

    def __init__(self, flat, way):
        super().__init__()
        self.flat = flat
        self.way = way

    def construct(self, vector):
        if self.way == "assign":
            self.flat.assign(vector)
        else:
            self.flat.subtract(vector)
        return self.flat()


def make_parameters(shapes):
    return [
        Parameter(Tensor(np.full(shape, number, np.float32)), name=f"p{number}") for number, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("shapes", [SHAPES, SHAPES[:1]], ids=["several", "one"])
@pytest.mark.parametrize("way", ["assign", "subtract"])
def test_a_vector_is_written_to_the_parameters_in_their_order(shapes, way):
    parameters = make_parameters(shapes)
    flat = FlatParameters(parameters)
    before = np.concatenate([parameter.asnumpy().ravel() for parameter in parameters])
    vector = np.arange(flat.size, dtype=np.float32)
    expected = vector if way == "assign" else before - vector
    read = Write(flat, way)(Tensor(vector)).asnumpy()
    np.testing.assert_array_equal(read, expected)
    for parameter, piece in zip(parameters, flat.pieces(expected), strict=True):
        np.testing.assert_array_equal(parameter.asnumpy(), piece)
