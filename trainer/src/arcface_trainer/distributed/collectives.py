"""The collectives that MindSpore runs on CPU (mccl) and Ascend (hccl) alike: all-gather and sum.

MAX, reduce-scatter, barrier and float64 do not exist on CPU, so nothing here uses them: what the CPU tests cover is
what Ascend runs. With one rank both are the identity and no communication group is needed.
"""

from mindspore import Tensor, nn, ops


class Collectives(nn.Cell):
    """Collectives of one rank, usable inside graphs."""

    def __init__(self, world_size: int, rank: int) -> None:
        super().__init__()
        self.world_size = world_size
        self.rank = rank
        self.is_alone = world_size == 1
        if not self.is_alone:
            self.gather = ops.AllGather()
            self.reduce = ops.AllReduce()

    def all_gather(self, x: Tensor) -> Tensor:
        """Concatenate over ranks along the first axis: (n, ...) to (world_size * n, ...)."""
        return x if self.is_alone else self.gather(x)

    def all_sum(self, x: Tensor) -> Tensor:
        """Sum over ranks, the same on each."""
        return x if self.is_alone else self.reduce(x)

    def own_block(self, x: Tensor) -> Tensor:
        """This rank's part of a gathered tensor: (world_size * n, ...) to (n, ...)."""
        if self.is_alone:
            return x
        size = x.shape[0] // self.world_size
        return x[self.rank * size : (self.rank + 1) * size]
