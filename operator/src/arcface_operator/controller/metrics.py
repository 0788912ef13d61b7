"""The operator's own Prometheus metrics, and the HTTP port that serves them and those of the jobs beside the probes."""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition

from arcface_api.command import build_labels
from arcface_api.errors import ArcFaceError, explained
from arcface_operator.controller import job_metrics

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OperatorMetrics:
    """The operator's own metrics and the registry that all are served from."""

    def __init__(self, jobs: job_metrics.Jobs) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "arcface_operator_reconcile_seconds",
            "Time of one look at a job.",
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "arcface_operator_reconcile_errors_total", "Looks at a job that failed.", registry=self.registry
        )
        self.is_leader = Gauge(
            "arcface_operator_is_leader", "1 while this replica acts, 0 while it stands by.", registry=self.registry
        )
        build = Gauge("arcface_build_info", "1, labelled with what runs.", [*build_labels()], registry=self.registry)
        build.labels(**build_labels()).set(1)
        self.registry.register(job_metrics.JobCollector(jobs))


def application(metrics: OperatorMetrics, is_ready: Callable[[], bool]) -> web.Application:
    """`/healthz`: the event loop turns; `/readyz`: standing by or acting on a complete cache; `/metrics`."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if is_ready() else web.Response(status=503, text="not ready\n")

    async def shown(_: web.Request) -> web.Response:
        # Those of a thousand jobs take a fifth of a second, in which nothing else would be done.
        text = await asyncio.to_thread(exposition.generate_latest, metrics.registry)
        return web.Response(body=text, headers={"Content-Type": exposition.CONTENT_TYPE_LATEST})

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
