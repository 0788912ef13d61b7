"""A proxy before the API server that counts an operator's writes, can end the operator after any, and makes trouble."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from testbed.control_plane.cluster import ControlPlane

READS = {"GET", "HEAD"}
CHANGES = {"PUT", "PATCH"}
CONFLICT = {"kind": "Status", "reason": "Conflict", "message": "the object has been modified", "code": 409}
HOP_BY_HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}
NOT_FORWARDED = {*HOP_BY_HOP, "authorization", "accept-encoding"}
LEASES = "/apis/coordination.k8s.io/"


class Trouble(Enum):
    """What the way to the API server does to requests, beside refusing them and breaking watches."""

    CUTS_OFF = "cuts off"
    """Connections end without an answer, those of watches too; nothing arrives."""
    HANGS = "hangs"
    """No answer comes, and none of the watches tells anything, as long as it lasts."""
    IS_SLOW = "is slow"
    """Each answer takes SLOW_SECONDS."""
    LOSES_ANSWERS = "loses answers"
    """What is written is done, and nobody is told."""
    CONFLICTS = "conflicts"
    """Whatever is to be changed has been changed meanwhile."""
    SILENCES_WATCHES = "silences watches"
    """Watches stay open and tell nothing; what they had to tell they tell afterwards."""


SLOW_SECONDS = 0.7
PAUSE_SECONDS = 0.02
CLOSING_SECONDS = 0.25
"""In which connections with TLS are closed after their session (aiohttp, "Graceful Shutdown")."""


class ApiProxy:
    """Forwards requests with the credentials of one user."""

    def __init__(self, plane: ControlPlane, user: str, groups: tuple[str, ...]) -> None:
        self.url = plane.url
        self.tls = plane.tls(user, groups)
        self.writes: list[str] = []
        """Method and path of the writes so far, in the order of their answers."""
        self.on_write: Callable[[str, bytes], None] = lambda _write, _answer: None
        """Called after each write that was not refused, with what `writes` has of it and its answer, before the
        operator hears of it."""
        self.frame: bytes | None = None
        self.refusal: int | None = None
        self.trouble: Trouble | None = None
        self.troubled = 0
        """Requests that were answered with trouble."""
        self.streams: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self.address: Future[str] = Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="proxy", daemon=True)
        self.thread.start()
        self.base = self.address.result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()

    def break_watches(self, error: dict[str, Any]) -> None:
        """End every watch, and each that is begun, with an ERROR frame."""
        self.frame = json.dumps({"type": "ERROR", "object": {"kind": "Status", **error}}).encode() + b"\n"
        self._cut_streams()

    def refuse_all(self, status: int) -> None:
        """Cut all streams, and answer whatever is asked with this status."""
        self.refusal = status
        self._cut_streams()

    def disturb(self, trouble: Trouble) -> None:
        """Make trouble until it is healed."""
        self.trouble = trouble
        if trouble is Trouble.CUTS_OFF:
            self._cut_streams()

    def heal(self) -> None:
        """Forward everything again."""
        self.frame = self.refusal = self.trouble = None

    def _cut_streams(self) -> None:
        """End what is being streamed."""
        for task in list(self.streams):
            self.loop.call_soon_threadsafe(task.cancel)

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads through the proxy."""
        cluster = {"name": "proxy", "cluster": {"server": self.base}}
        context = {"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}
        user = {"name": "nobody", "user": {"token": "the proxy has the credentials"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "proxy"}
        path.write_text(yaml.safe_dump({**config, "clusters": [cluster], "contexts": [context], "users": [user]}))
        return path

    async def serve(self) -> None:
        """Serve until the context is left."""
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=None), "read_bufsize": 2**21}
        connector = aiohttp.TCPConnector(limit=0, ssl=self.tls)
        async with aiohttp.ClientSession(self.url, connector=connector, **options) as self.session:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self.forward)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = site._server.sockets[0].getsockname()  # type: ignore[union-attr]
            self.address.set_result(f"http://{host}:{port}")
            await self.end.wait()
            await runner.cleanup()
        await asyncio.sleep(CLOSING_SECONDS)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """One request and its answer, streamed."""
        if self.refusal is not None:
            self.troubled += 1
            return web.json_response({"kind": "Status", "message": "trouble"}, status=self.refusal)
        if self.trouble is not None and (answer := await self._disturbed(request)) is not None:
            return answer
        try:
            return await self._forwarded(request)
        except aiohttp.ClientConnectionError:  # there is no API server: nobody answers
            return _cut(request)

    async def _disturbed(self, request: web.Request) -> web.Response | None:
        """What comes of a request by the trouble that there is; None where it is forwarded all the same."""
        self.troubled += 1
        if self.trouble is Trouble.IS_SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        while self.trouble is Trouble.HANGS:
            await asyncio.sleep(PAUSE_SECONDS)
        if self.trouble is Trouble.CONFLICTS and request.method in CHANGES:
            return web.json_response(CONFLICT, status=409)
        return _cut(request) if self.trouble is Trouble.CUTS_OFF else None

    async def _forwarded(self, request: web.Request) -> web.StreamResponse:
        """The API server's answer."""
        headers = {name: text for name, text in request.headers.items() if name.lower() not in NOT_FORWARDED}
        body = await request.read()
        async with self.session.request(request.method, request.raw_path, data=body or None, headers=headers) as reply:
            if request.method not in READS and not request.path.startswith(LEASES):
                content = await reply.read()
                self.writes.append(f"{request.method} {request.path}")
                if reply.ok:
                    await self.loop.run_in_executor(None, self.on_write, self.writes[-1], content)
                if self.trouble is Trouble.LOSES_ANSWERS:
                    return _cut(request)
                return web.Response(status=reply.status, body=content, content_type="application/json")
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP_BY_HOP}
            answer = web.StreamResponse(status=reply.status, headers=kept)
            try:
                await answer.prepare(request)
                await self._stream(reply, answer, is_watch="watch" in request.query)
                await answer.write_eof()
            except (ConnectionResetError, aiohttp.ClientError):
                pass  # the operator is dead, or the API server has ended a watch
            return answer

    async def _stream(self, reply: aiohttp.ClientResponse, answer: web.StreamResponse, *, is_watch: bool) -> None:
        """Pass an answer on, a watch until it is cut."""

        async def pass_on() -> None:
            async for chunk in reply.content.iter_any():
                while is_watch and self.trouble in {Trouble.SILENCES_WATCHES, Trouble.HANGS}:
                    await asyncio.sleep(PAUSE_SECONDS)
                await answer.write(chunk)

        if not is_watch:
            await pass_on()
            return
        task = asyncio.create_task(pass_on())
        self.streams.add(task)
        if self.frame is not None:
            task.cancel()
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            self.streams.discard(task)
        if not task.cancelled():
            task.result()
        elif self.frame is not None:
            self.troubled += 1
            await answer.write(self.frame)


def _cut(request: web.Request) -> web.Response:
    """End the connection instead of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
