"""The running statistics of batch normalisations, guarded as weights are: a step that is left out does not count.

The forward pass moves the network's own tensors in place, whatever comes out of it. So the truth is one vector, which
the tensors are given before the pass and which takes them over after it where the step's numbers are finite. Keeping
them a tensor at a time costs two copies of each instead, one before it is moved and one before it is put right.

Tensor suffix: S running statistics laid end to end.
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from arcface_faces.checkpoint import Tensors
from arcface_trainer.step.flat import FlatParameters


class GuardedStatistics(nn.Cell):
    """The statistics of the last step that was applied."""

    def __init__(self, statistics: dict[str, Parameter]) -> None:
        super().__init__()
        self.names = tuple(statistics)
        self.moved = FlatParameters(list(statistics.values()))
        initial = np.concatenate([each.asnumpy().ravel() for each in statistics.values()])
        self.kept = Parameter(Tensor(initial), name="kept_statistics", requires_grad=False)

    def restore(self) -> None:
        """Give the network's tensors these values; before its forward pass."""
        self.moved.assign(self.kept)

    def keep(self, is_finite: Tensor) -> None:
        """Take over what the forward pass has made of them where the step's numbers are finite; else keep all bits."""
        ops.assign(self.kept, ops.where(is_finite, self.moved(), self.kept))

    def host_vector(self) -> NDArray[np.float32]:
        """A copy (S,)."""
        return np.array(self.kept.asnumpy(), np.float32)

    def by_name(self, vector_S: NDArray[np.float32]) -> Tensors:
        """Parts of a vector by the names of the network's tensors."""
        return dict(zip(self.names, self.moved.pieces(vector_S), strict=True))

    def load(self, arrays: Tensors) -> None:
        """Go on from these."""
        self.kept.set_data(Tensor(np.concatenate([arrays[name].ravel() for name in self.names])))
