"""Serves /progress at the addresses of pods, as rank 0 of a real training does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from aiohttp import web

from arcface_api.contract.pod_environment import METRICS_PORT

Answer = Callable[[], str | None]
"""JSON to answer with; None where the connection breaks."""


class ProgressServer:
    """One server that listens where it is asked to.

    It takes connections itself: the event loop's servers of Python 3.11 lose, unclosed, a connection that they took
    just before they are closed, and a played pod often ends while it is asked.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.taken: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/progress", self.respond)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self.taken, return_exceptions=True)
        await self.runner.cleanup()

    @asynccontextmanager
    async def at(self, address: str, answer: Answer) -> AsyncIterator[None]:
        """Answer at an address while the context is open."""
        loop = asyncio.get_running_loop()
        with socket.create_server((address, METRICS_PORT), backlog=128) as listener:
            listener.setblocking(False)
            self.answers[address] = answer
            loop.add_reader(listener, self.take, listener)
            try:
                yield
            finally:
                loop.remove_reader(listener)
                del self.answers[address]

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
        address = request.transport.get_extra_info("sockname")[0]
        text = self.answers.get(address, lambda: None)()
        if text is None:
            request.transport.abort()
        return web.Response(text=text, content_type="application/json")
