"""`arcface operator`: puts the parts together, has kopf watch the jobs, and runs until it is asked to stop.

kopf's handlers take notes only, so that it adds neither finalizers nor annotations.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from arcface_api.names import API_VERSION, GROUP, PLURAL, VERSION
from arcface_operator.controller import jobs, metrics, observer, progress_poller, reconciler
from arcface_operator.decision.observation import view_pod
from arcface_operator.kubernetes import client, credentials, election, executor, prerequisites, reflector
from arcface_operator.settings import Settings

WORKERS = 256
"""Jobs that are looked at together; requests are bounded, and put into order, separately."""
LIST_JOBS_SECONDS = 300.0


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

    def __init__(self, api: client.Api, settings: Settings, options: Options) -> None:
        self.options = options
        self.api = api
        self.identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}_{os.getpid()}"
        self.queue = jobs.WorkQueue()
        self.jobs = jobs.JobStore()
        self.pods = reflector.Children(self.api, ("v1", "pods"), view_pod, self.queue.wake, options.namespaces)
        self.metrics = metrics.OperatorMetrics(self.jobs.bodies.values)
        self.poller = progress_poller.ProgressPoller(self._wake_now, _utc_now)
        self.reconciler = reconciler.Reconciler(
            jobs=self.jobs,
            observer=observer.Observer(
                api=self.api,
                pods=self.pods,
                prerequisites=prerequisites.PrerequisitesReader(self.api, time.monotonic),
                poller=self.poller,
                settings=settings,
                now=_utc_now,
            ),
            writer=reconciler.StatusWriter(self.api, self.jobs, self.queue, settings.figures_seconds),
            executor=executor.ActionExecutor(self.api, self.identity, _utc_now, self.pods.upsert),
            queue=self.queue,
            settings=settings,
            metrics=self.metrics,
            now=_utc_now,
        )
        self.leads = False
        self.supervision: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve probes, wait for the leadership, work until asked to stop."""
        runner = await metrics.serve(
            metrics.application(self.metrics, self._is_ready), self.options.address, self.options.port
        )
        self.supervision = asyncio.create_task(self._supervise())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.supervision
        finally:
            await runner.cleanup()
            await self.poller.close()

    def _stop(self) -> None:
        """End in order: the leadership is given back, jobs go on without us."""
        if self.supervision is not None:
            self.supervision.cancel()

    async def _supervise(self) -> None:
        """Work, as the leader where there may be others."""
        if not self.options.has_election:
            await self._work()
            return
        await election.Candidate(self.api, credentials.own_namespace(), self.identity, lambda: datetime.now(UTC)).lead(
            self._work
        )

    def _is_ready(self) -> bool:
        """Whether this replica does what it should: stand by, or act on a complete cache."""
        return not self.leads or self.pods.is_listed

    async def _work(self) -> None:
        """Act on all jobs until cancelled."""
        self.leads = True
        self.metrics.is_leader.set(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                self.pods.start(tasks)
                await self.pods.wait_until_listed()
                for _ in range(WORKERS):
                    tasks.create_task(self.queue.work(self.reconciler.handle))
                tasks.create_task(self._watch_jobs())
                tasks.create_task(self._drop_lost_jobs())
        finally:
            self.leads = False
            self.metrics.is_leader.set(0)

    async def _drop_lost_jobs(self) -> None:
        """Kopf lists anew after a gap without telling of what went in it."""
        while True:
            await asyncio.sleep(LIST_JOBS_SECONDS)
            before = self.jobs.uids()
            with contextlib.suppress(client.ApiError, client.Unreachable):
                self.jobs.retain(await self._list_uids(), before)

    async def _list_uids(self) -> set[str]:
        """Uids of all jobs that there are."""
        found: set[str] = set()
        for place in self.options.namespaces or (None,):
            page = await self.api.get(client.collection(API_VERSION, PLURAL, place))
            found |= {item["metadata"]["uid"] for item in page["items"]}
        return found

    async def _watch_jobs(self) -> None:
        """Watch the jobs until a signal comes, then end."""
        await _run_kopf(self.jobs, self._wake_now, self.identity, self.options.namespaces)
        self._stop()

    def _wake_now(self, ref: client.JobRef) -> None:
        """Something has come in that is not one of many."""
        self.queue.wake(ref, 0.0)


def _utc_now() -> datetime:
    """The time, to the second as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


async def _run_kopf(
    store: jobs.JobStore, changed: Callable[[client.JobRef], None], identity: str, namespaces: Sequence[str]
) -> None:
    """Run kopf, which takes over the signals while it runs and returns when one comes.

    Args:
        store: where the newest manifests go.
        changed: called for each job that may have changed.
        identity: of this replica; kopf would name itself after its user, who has no name in a container.
        namespaces: where to look; empty: everywhere.
    """
    await kopf.operator(
        registry=_build_registry(store, changed),
        standalone=True,
        identity=cast("Any", identity),
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )


def _build_registry(store: jobs.JobStore, changed: Callable[[client.JobRef], None]) -> kopf.OperatorRegistry:
    """Handlers of the operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Watching namespaces and definitions would need rights beyond our own resource.
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.networking.request_timeout = 30
        settings.watching.connect_timeout = 30
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330
        settings.queueing.idle_timeout = 1

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        of_pod = kopf.login_with_service_account(**kwargs)
        return kopf.login_with_kubeconfig(**kwargs) if of_pod is None else replace(of_pod, server=_own_api_server())

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def take_note(event: kopf.RawEvent, **_: Any) -> None:
        body: Any = event["object"]
        if event["type"] == "DELETED":
            store.delete(body)
        else:
            store.upsert(body)
        changed(client.JobRef.of(body))

    return registry


def _own_api_server() -> str:
    """Where a pod finds the API server without a name: that would need the cluster's DNS."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


async def run(settings: Settings, options: Options) -> None:
    """Run one replica to its end."""
    async with credentials.open_client() as connection:
        await Operator(client.Api(connection), settings, options).run()
