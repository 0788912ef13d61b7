"""What ranks exchange, inside of graphs (`Collectives`) and outside of them (`World`).

Only collectives that MindSpore runs on CPU (mccl) and Ascend (hccl) alike: all-gather and sum. MAX, reduce-scatter,
barrier and float64 do not exist on CPU, so nothing here uses them: what the CPU tests cover is what Ascend runs. With
one rank both are the identity and no communication group is needed.
"""

import logging
import time
from typing import cast

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from arcface_api.contract import pod_environment, run_config
from arcface_api.resource.spec import Precision
from arcface_trainer.device import Chip, configure_device

LOG = logging.getLogger(__name__)


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

    def all_sum_in_order(self, messages: list[Tensor], shared: Tensor) -> tuple[list[Tensor], Tensor]:
        """Sum several vectors and a short one, which travels with the last of them.

        Each sum waits for the one before, so that all ranks send them in one order, whatever order their graphs give
        to what is independent; what makes the next vector need not wait.
        """
        if self.is_alone:
            return messages, shared
        size = messages[-1].size
        messages = [*messages[:-1], ops.concat((messages[-1], shared))]
        summed = [self.reduce(messages[0])]
        for message in messages[1:]:
            summed.append(self.reduce(ops.depend(message, summed[-1])))
        return [*summed[:-1], summed[-1][:size]], summed[-1][size:]

    def own_block(self, x: Tensor) -> Tensor:
        """This rank's part of a gathered tensor: (world_size * n, ...) to (n, ...)."""
        if self.is_alone:
            return x
        size = x.shape[0] // self.world_size
        return x[self.rank * size : (self.rank + 1) * size]


class _AllGather(nn.Cell):
    def __init__(self, collectives: Collectives) -> None:
        super().__init__()
        self.collectives = collectives

    def construct(self, x: Tensor) -> Tensor:
        return self.collectives.all_gather(x)


class _AllSum(nn.Cell):
    def __init__(self, collectives: Collectives) -> None:
        super().__init__()
        self.collectives = collectives

    def construct(self, x: Tensor) -> Tensor:
        return self.collectives.all_sum(x)


class World:
    """All ranks, and the chip that each computes on, None for a CPU; its methods must be called by all in one order."""

    def __init__(self, world_size: int, rank: int, chip: Chip | None = None) -> None:
        self.size = world_size
        self.rank = rank
        self.chip = chip
        self.collectives = Collectives(world_size, rank)
        self._all_gather = _AllGather(self.collectives)
        self._all_sum = _AllSum(self.collectives)

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes what exists once."""
        return self.rank == 0

    def all_gather(self, numbers: list[int] | NDArray[np.int32]) -> NDArray[np.int32]:
        """Numbers of all ranks, (world_size, len(numbers)); also a barrier."""
        own = np.array([numbers], np.int32)
        return own if self.size == 1 else cast("NDArray[np.int32]", self._all_gather(Tensor(own)).asnumpy())

    def all_gather_doubles(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers of all ranks to the last bit, (world_size, len(numbers)); as words, for want of a wider type."""
        return self.all_gather(numbers.view(np.int32)).view(np.float64)

    def all_mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over ranks of a float32 vector."""
        if self.size == 1:
            return values
        return cast("NDArray[np.float32]", self._all_sum(Tensor(values)).asnumpy() / np.float32(self.size))


def init_distributed(ranks: run_config.RunRanks, identity: pod_environment.RankIdentity, precision: Precision) -> World:
    """Set this rank's device up and wait for the other ranks.

    Raises:
        InvalidInput: where the device does not compute this precision.
    """
    chip = configure_device(mindspore, ranks.accelerator, identity.device)
    if chip is not None:
        chip.check_precision(precision)
    LOG.info("device number=%d chip=%s", identity.device, chip.name if chip is not None else "CPU")
    if ranks.world_size > 1:
        started = time.monotonic()
        mindspore.communication.init()
        LOG.info("ranks joined world_size=%d seconds=%.1f", ranks.world_size, time.monotonic() - started)
    return World(ranks.world_size, identity.rank, chip)
