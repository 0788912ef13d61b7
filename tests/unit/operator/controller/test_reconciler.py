"""What the reconciler asks and does not ask of the API server, with the other parts played."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from arcface_operator.controller.job_store import JobStore
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.reconciler import Reconciler
from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.kubernetes.client import ApiError
from arcface_operator.kubernetes.executor import Actor
from support.builders.jobs import job_document
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_surroundings, make_worker
from support.decision_table import status_in

KEY = ("default", "quick")
UID = "1" * 8


class Children:
    """Pods or evaluators that are there."""

    def __init__(self, *views: Any) -> None:
        self.views = views

    def of(self, _key: Any) -> list[Any]:
        return list(self.views)


class Around:
    """Surroundings where everything is there, but for nodes that are lost."""

    def __init__(self, *lost: str) -> None:
        self.away, self.asked = lost, list[str]()

    async def read(self, _job: Any) -> Any:
        return make_surroundings()

    async def lost(self, names: Any) -> frozenset[str]:
        self.asked += sorted(names)
        return frozenset(names) & frozenset(self.away)


class Reports:
    """Rank 0 says nothing."""

    def ask(self, *_: Any) -> None:
        pass

    def take(self, *_: Any) -> None:
        return None


class Server:
    """Notes what is asked for; refuses what it is told to."""

    def __init__(self, refuses: Callable[[str, str], bool] = lambda *_: False) -> None:
        self.refuses, self.asked = refuses, list[str]()

    async def answer(self, verb: str, what: str, body: Any) -> Any:
        self.asked.append(f"{verb} {what}")
        if self.refuses(verb, what):
            raise ApiError(403, "not allowed")
        return body

    async def create(self, manifest: Any, **options: bool) -> Any:
        verb = "rehearse" if options.get("is_dry") else "create"
        return await self.answer(verb, manifest["kind"], {**manifest, "metadata": {**manifest["metadata"], "uid": "x"}})

    async def replace(self, path: str, body: Any, **_: bool) -> Any:
        return await self.answer("replace", path.rsplit("/", 1)[1], body)

    async def delete(self, path: str, *_: Any) -> None:
        await self.answer("delete", path.rsplit("/", 2)[1], {})


def body(phase: Any, **spec: Any) -> dict[str, Any]:
    document = job_document("quick", **spec)
    metadata = {"namespace": "default", "uid": UID, "resourceVersion": "1", "generation": 1}
    document["metadata"] = {**document["metadata"], **metadata, "creationTimestamp": "2026-11-25T11:00:00Z"}
    if phase is not None:
        document["status"] = status_in(phase).model_dump(mode="json", by_alias=True, exclude_none=True)
    return document


def look(server: Server, job: dict[str, Any], *pods: Any, around: Around | None = None, times: int = 1) -> Reconciler:
    """Look at a job some times in a row; what is asked for is with the server."""

    async def play() -> Reconciler:
        jobs, queue = JobStore(), WorkQueue()
        jobs.see(job)
        reconciler = Reconciler(
            api=server,  # type: ignore[arg-type]
            actor=Actor(server, "me", lambda: NOW, lambda _: None),  # type: ignore[arg-type]
            jobs=jobs,
            pods=Children(*pods),  # type: ignore[arg-type]
            evaluators=Children(),  # type: ignore[arg-type]
            surroundings=around or Around(),  # type: ignore[arg-type]
            reports=Reports(),  # type: ignore[arg-type]
            queue=queue,
            settings=SETTINGS,
            metrics=OperatorMetrics(jobs.bodies.values),
            now=clock,
        )
        for _ in range(times):
            await reconciler.handle(KEY)
        waits = [timer.when() - asyncio.get_running_loop().time() for timer in queue.timers.values()]
        reconciler.waits = (list(queue.waiting), waits)  # type: ignore[attr-defined]
        return reconciler

    return asyncio.run(play())


def clock() -> datetime:
    return NOW


def workers(**fields: Any) -> list[Any]:
    return [make_worker(index, 2, owner=UID, **fields) for index in range(2)]


def test_a_status_that_is_refused_is_not_tried_at_once_again() -> None:
    server = Server(lambda verb, _: verb == "replace")
    done = [make_ended(index, 2, owner=UID) for index in range(2)]
    reconciler = look(server, body("Training", workers={"replicas": 2}), *done)
    due, (wait,) = reconciler.waits  # type: ignore[attr-defined]
    assert due == []
    assert SETTINGS.check_seconds - 1 < wait <= SETTINGS.check_seconds


def test_refused_pods_are_tried_one_first_and_each_time_later() -> None:
    server = Server(lambda verb, what: (verb, what) == ("create", "Pod"))
    reconciler = look(server, body(None, workers={"replicas": 64}), times=3)
    assert server.asked.count("create Pod") == 64 + 1 + 1
    _, (wait,) = reconciler.waits  # type: ignore[attr-defined]
    assert wait > 0
    assert reconciler.memories[KEY].refusals == 3


def test_an_evaluators_template_is_rehearsed_before_any_pod_is_made() -> None:
    template = {"spec": {"nodeSelectr": {"disk": "fast"}}}
    evaluation = {"claimName": "sets", "sets": ["lfw"], "template": template}
    server = Server(lambda verb, what: (verb, what) == ("rehearse", "Job"))
    look(server, body(None, evaluation=evaluation))
    assert "rehearse Job" in server.asked
    assert "create Pod" not in server.asked


def test_nodes_are_looked_at_before_the_training_is_blamed() -> None:
    crashed = [make_ended(0, 2, code=1, owner=UID, at=ago(60)), make_worker(1, 2, owner=UID)]
    around, job = Around("node-1"), body("Training", workers={"replicas": 2})
    reconciler = look(Server(), job, *crashed, around=around)
    assert around.asked == ["node-0", "node-1"]
    status = reconciler.jobs.body(KEY)["status"]  # type: ignore[index]
    assert (status["restarts"], status["countedRestarts"], status["failure"]["reason"]) == (3, 1, "NodeLost")


def test_nodes_are_not_asked_about_while_all_is_well() -> None:
    around = Around()
    look(Server(), body("Training", workers={"replicas": 2}), *workers(), around=around)
    assert around.asked == []
