"""Ranks as threads of one process, whose collectives keep the rules of real ones.

All ranks must call the same collective with as many numbers, or all of them fail; one that is not called by every rank
never returns, which a deadline turns into a failure.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEADLINE_SECONDS = 60.0


class ThreadWorld:
    """What `World` offers to the host, and the votes of a step."""

    def __init__(self, size: int, rank: int, barrier: Barrier, calls: list[Any]) -> None:
        self.size, self.rank, self.is_first = size, rank, rank == 0
        self._barrier, self._calls = barrier, calls

    def all_gather(self, numbers: list[int]) -> NDArray[np.int32]:
        return np.array(self._joined("all_gather", numbers), np.int32)

    def all_gather_doubles(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(self._joined("all_gather_doubles", numbers))

    def all_mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.mean(self._joined("all_mean", values), axis=0, dtype=np.float32)

    def vote(self, number: int) -> int:
        """Take a step; the votes of all ranks, added up."""
        return sum(votes for (votes,) in self._joined("step", [number]))

    def _joined(self, name: str, values: Any) -> list[Any]:
        self._calls[self.rank] = (name, len(values), values)
        self._barrier.wait(DEADLINE_SECONDS)
        calls = list(self._calls)
        self._barrier.wait(DEADLINE_SECONDS)
        assert len({call[:2] for call in calls}) == 1, f"ranks are in different collectives: {calls}"
        return [values for _, _, values in calls]


def run_ranks(size: int, rank_main: Callable[[ThreadWorld], Any]) -> list[Any]:
    """What each rank returns; the first error ends all of them."""
    barrier, calls = Barrier(size), [None] * size

    def run(rank: int) -> Any:
        try:
            return rank_main(ThreadWorld(size, rank, barrier, calls))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
