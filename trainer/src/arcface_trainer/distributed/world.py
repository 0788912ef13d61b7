"""Agreements among all ranks outside the training graphs."""

from typing import cast

import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from arcface_trainer.distributed.collectives import Collectives


class _Gather(nn.Cell):
    def __init__(self, collectives: Collectives) -> None:
        super().__init__()
        self.collectives = collectives

    def construct(self, x: Tensor) -> Tensor:
        return self.collectives.all_gather(x)


class _Sum(nn.Cell):
    def __init__(self, collectives: Collectives) -> None:
        super().__init__()
        self.collectives = collectives

    def construct(self, x: Tensor) -> Tensor:
        return self.collectives.all_sum(x)


class World:
    """All ranks; its methods must be called by all of them in the same order."""

    def __init__(self, world_size: int, rank: int) -> None:
        self.size = world_size
        self.rank = rank
        self.collectives = Collectives(world_size, rank)
        self._gather = _Gather(self.collectives)
        self._sum = _Sum(self.collectives)

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes what exists once."""
        return self.rank == 0

    def gather(self, numbers: list[int] | NDArray[np.int32]) -> NDArray[np.int32]:
        """Numbers of all ranks, (world_size, len(numbers)); also a barrier."""
        own = np.array([numbers], np.int32)
        return own if self.size == 1 else cast("NDArray[np.int32]", self._gather(Tensor(own)).asnumpy())

    def gather_doubles(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers of all ranks to the last bit, (world_size, len(numbers)); as words, for want of a wider type."""
        return self.gather(numbers.view(np.int32)).view(np.float64)

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over ranks of a float32 vector."""
        if self.size == 1:
            return values
        return cast("NDArray[np.float32]", self._sum(Tensor(values)).asnumpy() / np.float32(self.size))
