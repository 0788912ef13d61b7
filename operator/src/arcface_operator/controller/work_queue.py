"""Which jobs to look at and when: each at most once at a time, and again if something came in meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

from arcface_operator.kubernetes.reflector import Key

DEBOUNCE_SECONDS = 0.05
"""A gang's pods change together: one look for all of them."""


class WorkQueue:
    """Keys that are due, and timers of those that will be."""

    def __init__(self) -> None:
        self.due: asyncio.Queue[Key] = asyncio.Queue()
        self.waiting: set[Key] = set()
        self.busy: set[Key] = set()
        self.again: set[Key] = set()
        self.timers: dict[Key, asyncio.TimerHandle] = {}

    def wake(self, key: Key, seconds: float = DEBOUNCE_SECONDS) -> None:
        """Have the job looked at after this time, or earlier if that was asked for already."""
        if seconds <= 0:
            self.put(key)
            return
        loop = asyncio.get_running_loop()
        timer = self.timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self.timers[key] = loop.call_later(seconds, self.put, key)

    def put(self, key: Key) -> None:
        """The job is due."""
        if (timer := self.timers.pop(key, None)) is not None:
            timer.cancel()
        if key in self.busy:
            self.again.add(key)
        elif key not in self.waiting:
            self.waiting.add(key)
            self.due.put_nowait(key)

    async def work(self, handle: Callable[[Key], Awaitable[None]]) -> None:
        """Handle keys until cancelled; several workers may share the queue."""
        while True:
            key = await self.due.get()
            self.waiting.discard(key)
            self.busy.add(key)
            try:
                await handle(key)
            finally:
                self.busy.discard(key)
                if key in self.again:
                    self.again.discard(key)
                    self.put(key)
