"""A proxy before the API server that counts an operator's writes and can end the operator right after any of them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from testbed.control_plane.cluster import ControlPlane

READS = {"GET", "HEAD"}
HOP_BY_HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}
NOT_FORWARDED = {*HOP_BY_HOP, "authorization", "accept-encoding"}
LEASES = "/apis/coordination.k8s.io/"


class ApiProxy:
    """Forwards requests with the credentials of one user."""

    def __init__(self, plane: ControlPlane, user: str, groups: tuple[str, ...]) -> None:
        self.url = plane.url
        self.tls = plane.tls(user, groups)
        self.writes: list[str] = []
        """Method and path of the writes so far, in the order of their answers."""
        self.on_write: Callable[[int], None] = lambda _: None
        """Called with the number of writes so far after each was answered, before the operator hears of it."""

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

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """One request and its answer, streamed."""
        headers = {name: text for name, text in request.headers.items() if name.lower() not in NOT_FORWARDED}
        body = await request.read()
        async with self.session.request(request.method, request.raw_path, data=body or None, headers=headers) as reply:
            if request.method not in READS and not request.path.startswith(LEASES):
                content = await reply.read()
                self.writes.append(f"{request.method} {request.path}")
                await self.loop.run_in_executor(None, self.on_write, len(self.writes))
                return web.Response(status=reply.status, body=content, content_type="application/json")
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP_BY_HOP}
            answer = web.StreamResponse(status=reply.status, headers=kept)
            try:
                await answer.prepare(request)
                async for chunk in reply.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
            except (ConnectionResetError, aiohttp.ClientError):
                pass  # the operator is dead, or the API server has ended a watch
            return answer
