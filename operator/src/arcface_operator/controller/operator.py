"""`arcface operator`: puts the parts together and runs them under kopf until it is asked to stop.

Kopf starts, logs in, heeds signals and ends in order. It has no handlers of objects: those are watched by informers of
our own, which outlive whatever an API server answers, add neither finalizers nor annotations, and know every kind.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import kopf
from kopf._cogs.clients.errors import APIError  # kopf names it nowhere else

from arcface_operator.controller import jobs, metrics, observer, progress_poller, reconciler, watches, word_listener
from arcface_operator.kubernetes import client, credentials, device_faults, election, executor, prerequisites, queues
from arcface_operator.settings import Settings

LOG = logging.getLogger(__name__)
WORKERS = 256
"""Jobs that are looked at together; requests are bounded, and put into order, separately."""
RESTART_SECONDS = 5.0
"""Until kopf, which needs the API server to start, is tried again."""
WITHOUT_API_SERVER = (kopf.LoginError, APIError, aiohttp.ClientError, OSError)
"""What kopf ends with where the API server is away, or does not let it in; a timeout is an OSError."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    namespaces: Sequence[str] = ()
    """Where to look for jobs; empty: everywhere."""
    address: str = "0.0.0.0"  # noqa: S104 - the pod's own address is as good as all
    port: int = 8080
    """Of probes and metrics."""
    has_election: bool = True


class Operator:
    """One replica of the operator."""

    def __init__(self, api: client.Api, lease_api: client.Api, settings: Settings, options: Options) -> None:
        self.options = options
        self.lease_api = lease_api
        self.identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}_{os.getpid()}"
        self.queue = jobs.WorkQueue()
        store = jobs.JobStore(self._wake_now)
        self.watches = watches.Watches(api, store, self.queue, options.namespaces)
        self.queues = queues.QueueReader(api, self.watches.workloads)
        self.metrics = metrics.OperatorMetrics(lambda: store.cache)
        self.poller = progress_poller.ProgressPoller(self._wake_now, _utc_now)
        self.listener = word_listener.WordListener(self._wake_now, _utc_now)
        self.reconciler = reconciler.Reconciler(
            jobs=store,
            observer=observer.Observer(
                api=api,
                pods=self.watches.pods,
                prerequisites=prerequisites.PrerequisitesReader(api, self.watches.claims, self.watches.nodes),
                queues=self.queues,
                poller=self.poller,
                listener=self.listener,
                settings=settings,
                now=_utc_now,
                device_faults=device_faults.DeviceFaultReader(api),
                objects=self.watches.objects,
            ),
            writer=reconciler.StatusWriter(api, store, self.queue, settings.figures_seconds),
            executor=executor.ActionExecutor(api, self.identity, _utc_now, self.watches.upsert, self.watches.lacks),
            queue=self.queue,
            settings=settings,
            metrics=self.metrics,
            now=_utc_now,
        )
        self.leads = False
        self.stopping = asyncio.Event()
        self.supervision: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve probes, wait for the leadership, work until asked to stop.

        Raises:
            ArcFaceError: when the leadership is lost.
        """
        runner = await metrics.serve(
            metrics.application(self.metrics, self._is_ready), self.options.address, self.options.port
        )
        try:
            await _run_kopf(_build_registry(self), self.identity, self.options.namespaces, self.stopping)
        finally:
            _forget_signals()
            await self.end()
            await runner.cleanup()
            await self.poller.close()
            await self.listener.close()
        if self.supervision is not None and not self.supervision.cancelled():
            self.supervision.result()

    def begin(self) -> None:
        """Work beside kopf, which ends when the work does."""
        self.supervision = asyncio.create_task(self._supervise())
        self.supervision.add_done_callback(lambda _: self.stopping.set())

    async def end(self) -> None:
        """End in order: the leadership is given back, jobs go on without us."""
        if self.supervision is not None:
            self.supervision.cancel()
            await asyncio.wait({self.supervision})

    async def _supervise(self) -> None:
        """Work, as the leader where there may be others."""
        if not self.options.has_election:
            await self._work()
            return
        candidate = election.Candidate(
            self.lease_api, credentials.own_namespace(), self.identity, lambda: datetime.now(UTC)
        )
        await candidate.lead(self._work)

    def _is_ready(self) -> bool:
        """Whether this replica does what it should: stand by, or act on what it may see."""
        return not self.leads or self.watches.is_settled

    async def _work(self) -> None:
        """Act on all jobs until cancelled."""
        self.leads = True
        self.metrics.is_leader.set(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                self.watches.start(tasks)
                tasks.create_task(self.queues.run())
                for _ in range(WORKERS):
                    tasks.create_task(self.queue.work(self.reconciler.handle))
        finally:
            self.leads = False
            self.metrics.is_leader.set(0)

    def _wake_now(self, ref: client.JobRef) -> None:
        """Something has come in that is not one of many."""
        self.queue.wake(ref, 0.0)


def _utc_now() -> datetime:
    """The time, to the second as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


async def _run_kopf(
    registry: kopf.OperatorRegistry, identity: str, namespaces: Sequence[str], stopping: asyncio.Event
) -> None:
    """Run kopf, which takes over the signals while it runs and returns when one comes, or the event does.

    Args:
        registry: what it does at its start and its end.
        identity: of this replica; kopf would name itself after its user, who has no name in a container.
        namespaces: where to look; empty: everywhere.
        stopping: ends it.
    """
    await kopf.operator(
        registry=registry,
        standalone=True,
        identity=cast("Any", identity),
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stopping,
    )


def _forget_signals() -> None:
    """Kopf leaves its handlers in place, which heed nothing any more."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


def _build_registry(operator: Operator) -> kopf.OperatorRegistry:
    """What kopf does for an operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def begin(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Watching namespaces and definitions would need rights beyond our own resource.
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.networking.request_timeout = 30
        operator.begin()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        of_pod = kopf.login_with_service_account(**kwargs)
        return kopf.login_with_kubeconfig(**kwargs) if of_pod is None else replace(of_pod, server=_own_api_server())

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        await operator.end()

    return registry


def _own_api_server() -> str:
    """Where a pod finds the API server without a name: that would need the cluster's DNS."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


async def run(settings: Settings, options: Options) -> None:
    """Run one replica to its end.

    Raises:
        ArcFaceError: when the leadership is lost.
    """
    async with credentials.open_client() as connection, credentials.open_client() as of_lease:
        await until_it_ends(lambda: Operator(client.Api(connection), client.Api(of_lease), settings, options).run())


async def until_it_ends(run_once: Callable[[], Awaitable[None]], pause_seconds: float = RESTART_SECONDS) -> None:
    """Run until that ends by itself, again after a pause where kopf gave up for want of the API server.

    An error of ours ends the process: one that begins anew for ever looks as if it worked.
    """
    while True:
        try:
            return await run_once()
        except WITHOUT_API_SERVER:
            LOG.exception("kopf has ended, it is begun again in %s s", pause_seconds)
            await asyncio.sleep(pause_seconds)
