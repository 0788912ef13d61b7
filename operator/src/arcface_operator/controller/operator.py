"""`arcface operator`: puts the parts together and runs them."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import kopf
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from arcface_api.errors import InvalidInput
from arcface_api.names import API_VERSION, PLURAL
from arcface_operator.controller.job_store import JobStore
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.progress_poller import ReportReader
from arcface_operator.controller.reconciler import Reconciler
from arcface_operator.controller.server import application, serve
from arcface_operator.controller.watch_jobs import build_registry
from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.decision.observation import view_evaluator, view_pod
from arcface_operator.kubernetes.children import Children
from arcface_operator.kubernetes.client import Api, ApiError, Unreachable, collection
from arcface_operator.kubernetes.election import Candidate
from arcface_operator.kubernetes.executor import Actor
from arcface_operator.kubernetes.prerequisites import SurroundingsReader
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.settings import Settings

LOG = logging.getLogger(__name__)
WORKERS = 256
"""Jobs that are looked at together; requests are bounded, and put into order, separately."""
LIST_JOBS_SECONDS = 300.0
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


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

    def __init__(self, client: ApiClient, settings: Settings, options: Options) -> None:
        self.options = options
        self.api = Api(client)
        self.identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}_{os.getpid()}"
        self.queue = WorkQueue()
        self.jobs = JobStore()
        self.pods = Children(self.api, ("v1", "pods"), view_pod, self.queue.wake, options.namespaces)
        jobs = ("batch/v1", "jobs")
        self.evaluators = Children(self.api, jobs, view_evaluator, self.queue.wake, options.namespaces)
        self.metrics = OperatorMetrics(self.jobs.bodies.values)
        self.reports = ReportReader(lambda key: self.queue.wake(key, 0.0))
        self.reconciler = Reconciler(
            api=self.api,
            actor=Actor(self.api, self.identity, utc_now, self.see_child),
            jobs=self.jobs,
            pods=self.pods,
            evaluators=self.evaluators,
            surroundings=SurroundingsReader(self.api, time.monotonic),
            reports=self.reports,
            queue=self.queue,
            settings=settings,
            metrics=self.metrics,
            now=utc_now,
        )
        self.leads = False
        self.supervision: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve probes, wait for the leadership, work until asked to stop."""
        runner = await serve(application(self.metrics, self.is_ready), self.options.address, self.options.port)
        self.supervision = asyncio.create_task(self.supervise())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.supervision
        finally:
            await runner.cleanup()
            await self.reports.close()

    def see_child(self, manifest: Manifest) -> None:
        """Take in a child that was just made."""
        (self.pods if manifest["kind"] == "Pod" else self.evaluators).note(manifest)

    def stop(self) -> None:
        """End in order: the leadership is given back, jobs go on without us."""
        if self.supervision is not None:
            self.supervision.cancel()

    async def supervise(self) -> None:
        """Work, as the leader where there may be others."""
        if not self.options.has_election:
            await self.work()
            return
        await Candidate(self.api, own_namespace(), self.identity, lambda: datetime.now(UTC)).lead(self.work)

    def is_ready(self) -> bool:
        """Whether this replica does what it should: stand by, or act on a complete cache."""
        return not self.leads or (self.pods.is_listed and self.evaluators.is_listed)

    async def work(self) -> None:
        """Act on all jobs until cancelled."""
        self.leads = True
        self.metrics.is_leader.set(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                for children in (self.pods, self.evaluators):
                    children.start(tasks)
                await self.pods.listed()
                await self.evaluators.listed()
                for _ in range(WORKERS):
                    tasks.create_task(self.queue.work(self.reconciler.handle))
                tasks.create_task(self.watch_jobs())
                tasks.create_task(self.drop_lost_jobs())
        finally:
            self.leads = False
            self.metrics.is_leader.set(0)

    async def drop_lost_jobs(self) -> None:
        """Kopf lists anew after a gap without telling of what went in it."""
        while True:
            await asyncio.sleep(LIST_JOBS_SECONDS)
            before = self.jobs.uids()
            with contextlib.suppress(ApiError, Unreachable):
                self.jobs.keep(await self.listed_uids(), before)

    async def listed_uids(self) -> set[str]:
        """Uids of all jobs that there are."""
        found: set[str] = set()
        for place in self.options.namespaces or (None,):
            page = await self.api.get(collection(API_VERSION, PLURAL, place))
            found |= {item["metadata"]["uid"] for item in page["items"]}
        return found

    async def watch_jobs(self) -> None:
        """Run kopf, which takes over the signals while it runs and returns when one comes."""
        await kopf.operator(
            registry=build_registry(self.jobs, lambda key: self.queue.wake(key, 0.0)),
            standalone=True,
            # Kopf would name itself after its user, who has no name in a container.
            identity=cast("Any", self.identity),
            clusterwide=not self.options.namespaces,
            namespaces=list(self.options.namespaces),
        )
        self.stop()


def utc_now() -> datetime:
    """The time, to the second as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


def own_namespace() -> str:
    """Namespace of the operator's pod, or the one that a developer's machine stands in for."""
    if OWN_NAMESPACE.is_file():
        return OWN_NAMESPACE.read_text().strip()
    return os.environ.get("POD_NAMESPACE", "default")


@asynccontextmanager
async def open_client() -> AsyncIterator[ApiClient]:
    """A client with the pod's own credentials or, outside of pods, with those of the kubeconfig."""
    # With trust_env every request would look for a .netrc, in a thread of its own.
    configuration = Configuration(client_session_kwargs={"trust_env": False})
    of_pod: Any = load_incluster_config
    of_user: Any = load_kube_config
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and OWN_NAMESPACE.is_file():
            of_pod(client_configuration=configuration)
        else:
            await of_user(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise InvalidInput(f"no way to the API server: {error}; set KUBECONFIG or run in a pod") from None
    async with ApiClient(configuration) as client:
        yield client


async def run(settings: Settings, options: Options) -> None:
    """Run one replica to its end."""
    async with open_client() as client:
        await Operator(client, settings, options).run()
