"""How many requests are under way, and which come first when there are too many.

Hundreds of jobs may come at once. What their pods wait for goes first then; events and figures come when there is room.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

Waiting = tuple[bool, int, asyncio.Future[None]]


class Lanes:
    """A semaphore whose patient users wait for all others; users of one kind go in the order they came in."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: list[Waiting] = []
        self.numbers = count()

    @asynccontextmanager
    async def enter(self, *, is_patient: bool) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        if self.free:
            self.free -= 1
        else:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self.waiting, (is_patient, next(self.numbers), place))
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()  # the slot had been given already
                raise
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Hand the slot on."""
        while self.waiting:
            _, _, place = heapq.heappop(self.waiting)
            if not place.done():
                place.set_result(None)
                return
        self.free += 1
