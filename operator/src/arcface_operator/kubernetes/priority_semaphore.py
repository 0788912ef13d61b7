"""How many requests are under way, and which come first when there are too many.

Hundreds of jobs may come at once. What their pods wait for goes first then; events and figures come when there is room.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Priority(IntEnum):
    """Which requests come first; the smaller number does."""

    HIGH = 0
    """What pods wait for."""
    LOW = 1
    """Events, and figures of a status."""


class PrioritySemaphore:
    """A semaphore that lets high priority in first, and those of one priority in the order they came in."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self.numbers = count()

    @asynccontextmanager
    async def acquire(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        if self.free:
            self.free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self.waiting, (priority, next(self.numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release()  # the slot had been given already
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        """Hand the slot on."""
        while self.waiting:
            _, _, turn = heapq.heappop(self.waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
