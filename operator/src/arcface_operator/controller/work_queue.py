"""Which jobs to look at and when: each at most once at a time, and again if something came in meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

from arcface_operator.kubernetes.client import JobRef

DEBOUNCE_SECONDS = 0.05
"""A gang's pods change together: one look for all of them."""


class WorkQueue:
    """Jobs that are due, and timers of those that will be."""

    def __init__(self) -> None:
        self.due: asyncio.Queue[JobRef] = asyncio.Queue()
        self.waiting: set[JobRef] = set()
        self.busy: set[JobRef] = set()
        self.again: set[JobRef] = set()
        self.timers: dict[JobRef, asyncio.TimerHandle] = {}

    def wake(self, ref: JobRef, seconds: float = DEBOUNCE_SECONDS) -> None:
        """Have the job looked at after this time, or earlier if that was asked for already."""
        if seconds <= 0:
            self._put(ref)
            return
        loop = asyncio.get_running_loop()
        timer = self.timers.get(ref)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self.timers[ref] = loop.call_later(seconds, self._put, ref)

    def _put(self, ref: JobRef) -> None:
        """The job is due."""
        if (timer := self.timers.pop(ref, None)) is not None:
            timer.cancel()
        if ref in self.busy:
            self.again.add(ref)
        elif ref not in self.waiting:
            self.waiting.add(ref)
            self.due.put_nowait(ref)

    async def work(self, handle: Callable[[JobRef], Awaitable[None]]) -> None:
        """Handle jobs until cancelled; several workers may share the queue."""
        while True:
            ref = await self.due.get()
            self.waiting.discard(ref)
            self.busy.add(ref)
            try:
                await handle(ref)
            finally:
                self.busy.discard(ref)
                if ref in self.again:
                    self.again.discard(ref)
                    self._put(ref)
