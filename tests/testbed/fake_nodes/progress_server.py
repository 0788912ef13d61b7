"""Serves /progress at the addresses of pods, as rank 0 of a real training does."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from aiohttp import web

from arcface_api.contract.pod_environment import METRICS_PORT

Answer = Callable[[], str | None]
"""JSON to answer with; None where the connection breaks."""


class ProgressServer:
    """One server that listens where it is asked to."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/progress", self.respond)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.runner.cleanup()

    @asynccontextmanager
    async def at(self, address: str, answer: Answer) -> AsyncIterator[None]:
        """Answer at an address while the context is open."""
        site = web.TCPSite(self.runner, address, METRICS_PORT)
        self.answers[address] = answer
        await site.start()
        try:
            yield
        finally:
            del self.answers[address]
            await site.stop()

    async def respond(self, request: web.Request) -> web.Response:
        """The answer of the pod that was asked; a connection to a pod that is gone breaks."""
        address = request.transport.get_extra_info("sockname")[0]
        text = self.answers.get(address, lambda: None)()
        if text is None:
            request.transport.abort()
        return web.Response(text=text, content_type="application/json")
