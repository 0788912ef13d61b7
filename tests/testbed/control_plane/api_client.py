"""A small asynchronous client of the API server that outlives its restarts."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"
CONNECTIONS = 16
PAUSE_SECONDS = 0.1
LINE_BYTES = 2**21
"""More than the longest line of a watch: an object has at most 1.5 MiB."""
PAGE = 500
CUT_OFF = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
AGAIN = {409, 429, 500, 503, 504}
LOST_RACE = "please apply your changes to the latest version"


class RefusedError(RuntimeError):
    """The API server refused a request."""


class ApiClient:
    """Requests with bounded concurrency, repeated while nobody answers."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self.url = url
        self.tls = tls

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(
            self.url,
            connector=aiohttp.TCPConnector(limit=0, ssl=self.tls),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=LINE_BYTES,
        )
        self.turns = asyncio.Semaphore(CONNECTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """The answer's document; None where the object is not there, or is another one of that name.

        Raises:
            RefusedError: with the API server's sentence, for any other refusal.
        """
        options = {"data": None if body is None else json.dumps(body).encode(), "headers": {"Content-Type": kind}}
        while True:
            with suppress(*CUT_OFF):
                async with self.turns, self.session.request(method, path, **options) as reply:
                    content = await reply.json()
                if reply.ok:
                    return content
                if reply.status == 404 or (reply.status == 409 and LOST_RACE not in content["message"]):
                    return None
                if reply.status not in AGAIN:
                    raise RefusedError(f"{method} {path}: {content['message']}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def pages(self, path: str, query: str) -> AsyncIterator[dict[str, Any]]:
        """All objects, page by page."""
        rest = ""
        while True:
            page = await self.request("GET", f"{path}?{query}&limit={PAGE}&continue={rest}")
            yield page
            rest = page["metadata"].get("continue", "")
            if not rest:
                return

    async def watch(self, path: str, query: str, version: str) -> AsyncIterator[dict[str, Any]]:
        """Events from a version on, until the connection ends or the API server has forgotten that version."""
        try:
            async with self.session.get(f"{path}?{query}&watch=true&resourceVersion={version}") as reply:
                async for line in reply.content:
                    event = json.loads(line)
                    if event.get("type") in {None, "ERROR"}:  # None: an error's own document
                        return
                    yield event
        except CUT_OFF:
            await asyncio.sleep(PAUSE_SECONDS)
