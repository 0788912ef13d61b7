"""Serves what the first pod of a gang does, at the addresses of pods: rank 0 /progress, its launcher /gang."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from arcface_api.contract.launcher_words import LONGEST_WAIT_SECONDS, GangWord

Answer = Callable[[], str | None]
"""JSON to answer with; None where the connection breaks."""


@dataclass(eq=False)
class Place:
    """Where somebody answers."""

    answer: Answer
    is_gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the pod has ended: whoever waits there for an answer gets none."""


NOWHERE = Place(lambda: None)


class ProgressServer:
    """One server that listens where it is asked to.

    It takes connections itself: the event loop's servers of Python 3.11 lose, unclosed, a connection that they took
    just before they are closed, and a played pod often ends while it is asked.
    """

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], Place] = {}
        """By address and port."""
        self.taken: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/progress", self.respond)
        app.router.add_get("/gang", self.respond_in_time)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self.taken, return_exceptions=True)
        await self.runner.cleanup()

    @asynccontextmanager
    async def at(self, address: str, port: int, answer: Answer) -> AsyncIterator[None]:
        """Answer at an address while the context is open."""
        loop = asyncio.get_running_loop()
        with socket.create_server((address, port), backlog=128) as listener:
            listener.setblocking(False)
            place = self.places[address, port] = Place(answer)
            loop.add_reader(listener, self.take, listener)
            try:
                yield
            finally:
                loop.remove_reader(listener)
                place.is_gone.set()
                del self.places[address, port]

    def take(self, listener: socket.socket) -> None:
        """Give a connection that waits to the server, which closes it at the latest at its own end."""
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the other side is gone already
        loop = asyncio.get_running_loop()
        connected = loop.create_task(loop.connect_accepted_socket(self.runner.server, connection))
        self.taken.add(connected)
        connected.add_done_callback(self.taken.discard)

    async def respond(self, request: web.Request) -> web.Response:
        """The answer of the pod that was asked; a connection to a pod that is gone breaks."""
        text = self.place_of(request).answer()
        if text is None and request.transport is not None:
            request.transport.abort()
        return web.Response(text=text, content_type="application/json")

    async def respond_in_time(self, request: web.Request) -> web.Response:
        """The word of a launcher: at once where it is newer than what is known of it, else when the time is over."""
        try:
            after, seconds = (float(request.query.get(name, "0")) for name in ("after", "seconds"))
        except ValueError:
            return web.Response(status=400)
        place = self.place_of(request)
        word = GangWord.parse((place.answer() or "").encode())
        if word is not None and word.serial <= after:
            with suppress(TimeoutError):
                await asyncio.wait_for(place.is_gone.wait(), min(seconds, LONGEST_WAIT_SECONDS))
        return await self.respond(request)

    def place_of(self, request: web.Request) -> Place:
        """Where a request has come to."""
        if request.transport is None:
            return NOWHERE
        address, port, *_ = request.transport.get_extra_info("sockname")
        return self.places.get((address, port), NOWHERE)
