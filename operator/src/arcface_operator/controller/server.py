"""The operator's own HTTP port: probes and metrics."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from arcface_api.errors import ArcFaceError, explained
from arcface_operator.controller.metrics import OperatorMetrics


def application(metrics: OperatorMetrics, is_ready: Callable[[], bool]) -> web.Application:
    """`/healthz`: the event loop turns; `/readyz`: standing by or acting on a complete cache; `/metrics`."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if is_ready() else web.Response(status=503, text="not ready\n")

    async def shown(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", shown)])
    return app


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Start serving; to be cleaned up by the caller.

    Raises:
        ArcFaceError: where the port is taken.
        InvalidInput: where it cannot be had at all.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        with explained(f"{host}:{port}", "cannot be served on", "choose another --port"):
            await web.TCPSite(runner, host, port).start()
    except ArcFaceError:
        await runner.cleanup()
        raise
    return runner
