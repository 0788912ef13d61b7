"""Parameters of a network as host arrays, by their path within it."""

import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.checkpoint import Tensors

STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
"""Ends of the names of batch normalisation's running statistics."""


def named_parameters(network: nn.Cell) -> dict[str, Parameter]:
    """Parameters and running statistics of a network by their path within it."""
    return dict(network.parameters_and_names())


def host_arrays(parameters: dict[str, Parameter]) -> Tensors:
    """Copies of the parameters' values."""
    return {name: np.array(parameter.asnumpy(), np.float32) for name, parameter in parameters.items()}


def assign(parameters: dict[str, Parameter], arrays: dict[str, NDArray[np.float32]], source: str) -> None:
    """Give parameters new values; InvalidInput, naming `source`, where names or shapes differ."""
    if differing := sorted(parameters.keys() ^ arrays.keys()):
        raise InvalidInput(f"{source}: tensor {differing[0]} does not fit the network: use the job's own checkpoint")
    for name, parameter in parameters.items():
        if parameter.shape != arrays[name].shape:
            raise InvalidInput(
                f"{source}: tensor {name} is {arrays[name].shape}, the network needs {parameter.shape}: "
                "use the job's own checkpoint"
            )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name]))
