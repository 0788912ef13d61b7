"""Pods as the operator's cache has them, and an API server that fails as it is told to; the controller on both."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from arcface_operator.controller.jobs import JobStore, WorkQueue, parse_job
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.observer import Observer
from arcface_operator.controller.reconciler import Reconciler, StatusWriter
from arcface_operator.decision.evaluation import evaluation_hash
from arcface_operator.kubernetes.client import CreateMode, JobRef
from arcface_operator.kubernetes.device_faults import DeviceFaultReader
from arcface_operator.kubernetes.executor import ActionExecutor
from arcface_operator.manifests.workload import QueueView
from support.builders.jobs import job_document
from support.builders.views import NOW, SETTINGS, make_prerequisites
from support.decision_table import status_in
from support.fakes.words import Listener

REF = JobRef("default", "quick")
UID = "uid-1"


@dataclass
class FailingCluster:
    """The cluster."""

    pods: tuple[Any, ...] = ()
    verb: str = ""
    """Of the requests that fail."""
    what: str = ""
    """Kind, or name, of their object."""
    error: Exception | None = None
    found: dict[str, Any] = field(default_factory=dict)
    """Objects that are read, by the end of their path."""
    away: frozenset[str] = frozenset()
    """Nodes that are lost."""
    objects: tuple[Any, ...] | None = None
    """Services and ConfigMaps as the operator's cache has them."""
    lacks: tuple[str, ...] = ()
    """Kinds of which it is known that the job has none."""
    queue: QueueView | None = None
    """Kueue's part."""
    asked: list[str] = field(default_factory=list)
    """Writes, in their order."""
    seconds: float = 0.0
    """Passed since NOW."""

    # What the observer reads.

    def of(self, _ref: JobRef) -> list[Any]:
        """Pods."""
        return list(self.pods)

    def error_of(self, _namespace: str) -> Exception | None:
        """Why pods cannot be seen."""
        return self.error if (self.verb, self.what) == ("read", "pods") else None

    async def read(self, _job: Any) -> Any:
        """Prerequisites."""
        self.show("prerequisites")
        return make_prerequisites()

    def show(self, what: str) -> None:
        """A read, of what or by a path."""
        if self.error is not None and self.verb == "read" and self.what in what:
            raise self.error

    def lost(self, names: Any) -> frozenset[str]:
        """Nodes."""
        return self.away & frozenset(names)

    def poll(self, *_: Any) -> None:
        """Nobody is asked."""

    def take(self, *_: Any) -> None:
        """Nobody answers."""

    # What the API server is asked for.

    async def answer(self, verb: str, what: str, body: Any) -> Any:
        """A write."""
        self.asked.append(f"{verb} {what}")
        if self.error is not None and (verb, what) == (self.verb, self.what):
            raise self.error
        return body

    async def find(self, path: str) -> Any:
        """An object."""
        self.show(path)
        return next((item for end, item in self.found.items() if path.endswith(end)), None)

    async def create(self, manifest: Any, mode: Any = None, **_: Any) -> Any:
        """A new object, or a trial."""
        verb = "try" if mode is CreateMode.DRY_RUN else "create"
        return await self.answer(verb, manifest["kind"], manifest)

    async def apply(self, manifest: Any, **_: Any) -> Any:
        """Server-side apply."""
        is_table = manifest["metadata"]["name"].startswith("rings-")
        return await self.answer("apply", "table" if is_table else manifest["kind"], manifest)

    async def replace(self, path: str, body: Any, _priority: Any) -> Any:
        """A status."""
        return await self.answer("replace", path.rsplit("/", 1)[1], body)

    async def edit(self, path: str, body: Any) -> Any:
        """A JSON patch."""
        return await self.answer("edit", path.rsplit("/", 1)[1], body)

    async def merge(self, path: str, body: Any) -> Any:
        """An annotation."""
        return await self.answer("merge", path.rsplit("/", 1)[1], body)

    async def delete(self, path: str, _uid: str, _grace: Any = None) -> None:
        """A deletion."""
        await self.answer("delete", path.rsplit("/", 1)[1], {})

    # Time.

    def clock(self) -> float:
        """The monotonic one."""
        return self.seconds

    def now(self) -> datetime:
        """The other."""
        return NOW + timedelta(seconds=self.seconds)


def body(phase: Any, status: Any = None, **spec: Any) -> dict[str, Any]:
    """The manifest of a job in a phase."""
    document = job_document("quick", **spec)
    metadata = {"namespace": "default", "uid": UID, "resourceVersion": "1", "generation": 1}
    document["metadata"] = {**document["metadata"], **metadata, "creationTimestamp": "2026-11-25T11:00:00Z"}
    if phase is not None:
        told = status_in(phase, **(status or {}))
        if told.evaluation_hash is not None:
            told = told.model_copy(update={"evaluation_hash": evaluation_hash(parse_job(document))})
        document["status"] = told.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document


@dataclass
class Queues:
    """Reads what Kueue says of the job."""

    cluster: FailingCluster

    async def read(self, _job: Any) -> QueueView | None:
        """All of it."""
        self.cluster.show("queue")
        return self.cluster.queue


class Controller:
    """The operator's controller on a job of a cluster."""

    def __init__(self, cluster: FailingCluster, job: dict[str, Any]) -> None:
        api: Any = cluster
        self.cluster, self.jobs, self.queue = cluster, JobStore(), WorkQueue()
        self.jobs.upsert(job)
        parts = {"api": api, "pods": api, "prerequisites": api, "poller": api, "device_faults": DeviceFaultReader(api)}
        parts |= {"queues": Queues(cluster), "listener": Listener()}
        self.reconciler = Reconciler(
            jobs=self.jobs,
            observer=Observer(
                **parts, settings=SETTINGS, now=cluster.now, clock=cluster.clock, objects=lambda _: cluster.objects
            ),
            writer=StatusWriter(api, self.jobs, self.queue, SETTINGS.figures_seconds, cluster.clock),
            executor=ActionExecutor(api, "me", cluster.now, lambda _: None, lambda item: item["kind"] in cluster.lacks),
            queue=self.queue,
            settings=SETTINGS,
            metrics=OperatorMetrics(lambda: self.jobs.cache),
            now=cluster.now,
            clock=cluster.clock,
        )

    async def look(self, after: float = 0.0) -> None:
        """Look at the job after some seconds, and again as long as it is due at once.

        Raises:
            AssertionError: where that has no end.
        """
        self.cluster.seconds += after
        self.queue.waiting.add(REF)
        for _ in range(10):
            if REF not in self.queue.waiting:
                return
            self.queue.waiting.discard(REF)
            await self.reconciler.handle(REF)
        raise AssertionError("the job is looked at without end")

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition as it was written last."""
        conditions: list[dict[str, Any]] = (self.jobs.body(REF) or {})["status"]["conditions"]
        return next(item for item in conditions if item["type"] == kind)

    def tries(self) -> int:
        """Requests of the kind that fails."""
        return self.cluster.asked.count(f"{self.cluster.verb} {self.cluster.what}")
