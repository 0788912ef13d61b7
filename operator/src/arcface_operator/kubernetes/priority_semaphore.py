"""How many requests are under way, and which come first when there are too many.

Hundreds of jobs may come at once. What their pods wait for goes first then; events and figures come when there is room.
Jobs take turns, as flows do in fair queuing: one with thousands of pods holds nobody up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import IntEnum

FLOW: ContextVar[Hashable] = ContextVar("flow", default=None)
"""On whose behalf requests are made: those of one take turns with those of all others."""


class Priority(IntEnum):
    """Which requests come first; the smaller number does."""

    HIGH = 0
    """What pods wait for."""
    LOW = 1
    """Events, and figures of a status."""


class PrioritySemaphore:
    """A semaphore that lets high priority in first; those of one flow and priority keep the order they came in."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: dict[Priority, dict[Hashable, deque[asyncio.Future[None]]]] = {each: {} for each in Priority}
        """By flow, the one whose turn is next at the beginning."""

    @asynccontextmanager
    async def acquire(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        if self.free:
            self.free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting[priority].setdefault(FLOW.get(), deque()).append(turn)
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
        for priority in Priority:
            while self.waiting[priority]:
                turn = self._pop(self.waiting[priority])
                if not turn.done():
                    turn.set_result(None)
                    return
        self.free += 1

    def _pop(self, flows: dict[Hashable, deque[asyncio.Future[None]]]) -> asyncio.Future[None]:
        """The next turn of the first flow, which goes to the end."""
        flow = next(iter(flows))
        turns = flows.pop(flow)
        turn = turns.popleft()
        if turns:
            flows[flow] = turns
        return turn
