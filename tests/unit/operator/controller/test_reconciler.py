"""What the reconciler asks and does not ask of the API server, with the other parts played."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from arcface_api.contract.pod_environment import SCHEDULER_ANNOTATION
from arcface_operator.controller import reconciler as reconciling
from arcface_operator.controller.jobs import JobStore, WorkQueue
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.controller.observer import Observer
from arcface_operator.controller.reconciler import Reconciler, StatusWriter
from arcface_operator.kubernetes.client import IN_FLIGHT, ApiError, CreateMode, JobRef
from arcface_operator.kubernetes.device_faults import DeviceFaultReader
from arcface_operator.kubernetes.executor import ActionExecutor
from arcface_operator.settings import Settings
from support.builders.jobs import job_document
from support.builders.views import ASCEND, NOW, SETTINGS, ago, make_ended, make_prerequisites, make_worker
from support.decision_table import status_in
from support.fakes.kueue import NoQueues
from support.fakes.words import Listener

REF = JobRef("default", "quick")
UID = "1" * 8


class Children:
    """Pods or evaluators that are there."""

    def __init__(self, *views: Any) -> None:
        self.views = views

    def of(self, _key: Any) -> list[Any]:
        return list(self.views)

    def error_of(self, _namespace: str) -> None:
        return None


class Around:
    """Prerequisites where everything is there, but for nodes that are lost."""

    def __init__(self, *lost: str) -> None:
        self.away, self.asked, self.reads = lost, list[str](), 0

    async def read(self, _job: Any) -> Any:
        self.reads += 1
        return make_prerequisites()

    def lost(self, names: Any) -> frozenset[str]:
        self.asked += sorted(names)
        return frozenset(names) & frozenset(self.away)


class Poller:
    """Rank 0 says nothing."""

    def poll(self, *_: Any) -> None:
        pass

    def take(self, *_: Any) -> None:
        return None


class Server:
    """Notes what is asked for; refuses what it is told to."""

    def __init__(self, refuses: Callable[[str, str], bool] = lambda *_: False) -> None:
        self.refuses, self.asked = refuses, list[str]()
        self.made: list[dict[str, Any]] = []

    async def answer(self, verb: str, what: str, body: Any) -> Any:
        self.asked.append(f"{verb} {what}")
        if self.refuses(verb, what):
            raise ApiError(403, "not allowed")
        return body

    async def create(self, manifest: Any, mode: Any = None, **_: Any) -> Any:
        verb = "try" if mode is CreateMode.DRY_RUN else "create"
        self.made.append(manifest)
        return await self.answer(verb, manifest["kind"], {**manifest, "metadata": {**manifest["metadata"], "uid": "x"}})

    async def find(self, _path: str) -> None:
        return None

    async def apply(self, manifest: Any, **_: Any) -> Any:
        return await self.answer("apply", manifest["kind"], manifest)

    async def replace(self, path: str, body: Any, _priority: Any) -> Any:
        return await self.answer("replace", path.rsplit("/", 1)[1], body)

    async def merge(self, path: str, body: Any) -> Any:
        return await self.answer("merge", path.rsplit("/", 1)[1], body)

    async def delete(self, path: str, *_: Any) -> None:
        await self.answer("delete", path.rsplit("/", 2)[1], {})


def body(phase: Any, **spec: Any) -> dict[str, Any]:
    document = job_document("quick", **spec)
    metadata = {"namespace": "default", "uid": UID, "resourceVersion": "1", "generation": 1}
    document["metadata"] = {**document["metadata"], **metadata, "creationTimestamp": "2026-11-25T11:00:00Z"}
    if phase is not None:
        document["status"] = status_in(phase).model_dump(mode="json", by_alias=True, exclude_none=True)
    return document


def look(
    server: Server,
    job: dict[str, Any],
    *pods: Any,
    around: Around | None = None,
    times: int = 1,
    settings: Settings = SETTINGS,
) -> Reconciler:
    """Look at a job some times in a row; what is asked for is with the server."""

    async def play() -> Reconciler:
        jobs, queue, loop = JobStore(), WorkQueue(), asyncio.get_running_loop()
        began = loop.time()
        jobs.upsert(job)
        api: Any = server
        found: Any = Children(*pods), around or Around(), NoQueues(), Poller(), Listener()
        reconciler = Reconciler(
            jobs=jobs,
            observer=Observer(api, *found, settings=SETTINGS, now=clock, device_faults=DeviceFaultReader(api)),
            writer=StatusWriter(api, jobs, queue, SETTINGS.figures_seconds),
            executor=ActionExecutor(api, "me", clock, lambda _: None),
            queue=queue,
            settings=settings,
            metrics=OperatorMetrics(lambda: jobs.cache),
            now=clock,
        )
        for _ in range(times):
            await reconciler.handle(REF)
        # The shortest and the longest that a wait may have been asked to be.
        waits = [(timer.when() - loop.time(), timer.when() - began) for timer in queue.timers.values()]
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
    due, ((shortest, longest),) = reconciler.waits  # type: ignore[attr-defined]
    assert due == []
    assert shortest <= SETTINGS.check_seconds <= longest


def test_no_more_pods_are_tried_than_at_once_and_none_before_their_time() -> None:
    server = Server(lambda verb, what: (verb, what) == ("create", "Pod"))
    reconciler = look(server, body(None, workers={"replicas": 64}), times=3)
    assert server.asked.count("create Pod") == IN_FLIGHT
    _, ((_, longest),) = reconciler.waits  # type: ignore[attr-defined]
    assert longest > 0


def test_a_job_without_a_resource_keeps_what_its_release_offered_first() -> None:
    """The definition of the resource has no default, since releases of one cluster share it."""
    job = body("Pending", workers=ASCEND, training={"precision": "fp32"})
    for offered in ("example.com/npu", "example.com/other"):
        server = Server()
        settings = SETTINGS.model_copy(update={"resource_name": offered})
        seen = look(server, {**job, "spec": {**job["spec"], "workers": ASCEND}}, settings=settings)
        pods = [each for each in server.made if each["kind"] == "Pod"]
        limits = [each["spec"]["containers"][0]["resources"]["limits"] for each in pods]
        assert limits == [{"example.com/npu": 2}] * 2
        job["status"] = seen.jobs.body(REF)["status"]  # type: ignore[index]
        assert job["status"]["resourceName"] == "example.com/npu"


def gang_with_cards() -> tuple[dict[str, Any], list[Any]]:
    """A job on two nodes with two cards each, and its pods, all of whose cards are known."""
    pods = []
    for index, view in enumerate(workers()):
        cards = [
            {"device_id": str(card), "device_ip": f"192.168.{101 + card}.{2 + index}", "super_device_id": "0"}
            for card in range(2)
        ]
        written = json.dumps({"server_id": f"10.0.0.{11 + index}", "super_pod_id": -2, "devices": cards})
        pods.append(replace(view, annotations={SETTINGS.device_annotation: written}))
    return body("Starting", workers=ASCEND, training={"precision": "fp32"}), pods


def table_condition(reconciler: Reconciler) -> tuple[str, str]:
    conditions = reconciler.jobs.body(REF)["status"]["conditions"]  # type: ignore[index]
    (found,) = [item for item in conditions if item["type"] == "RankTableReady"]
    return found["status"], found["reason"]


def test_a_rank_table_that_cannot_be_written_is_not_ready_and_no_pod_is_told_of_it() -> None:
    server = Server(lambda verb, what: (verb, what) == ("apply", "ConfigMap"))
    job, pods = gang_with_cards()
    reconciler = look(server, job, *pods, times=3)
    assert table_condition(reconciler) == ("False", "Refused")
    assert server.asked.count("apply ConfigMap") == 1
    assert not [asked for asked in server.asked if asked.startswith("merge")]


def test_pods_are_told_of_a_rank_table_after_it_is_written() -> None:
    job, pods = gang_with_cards()
    server = Server()
    reconciler = look(server, job, *pods)
    assert table_condition(reconciler) == ("False", "Publishing")
    assert server.asked == ["replace status", "apply ConfigMap", "merge quick-worker-0", "merge quick-worker-1"]


def test_an_evaluators_template_is_tried_before_any_pod_is_made() -> None:
    template = {"spec": {"nodeSelectr": {"disk": "fast"}}}
    evaluation = {"claimName": "sets", "sets": ["lfw"], "template": template}
    server = Server(lambda verb, what: (verb, what) == ("try", "PodTemplate"))
    look(server, body(None, evaluation=evaluation))
    assert "try PodTemplate" in server.asked
    assert "create Pod" not in server.asked


def test_nodes_are_looked_at_before_the_training_is_blamed() -> None:
    crashed = [make_ended(0, 2, code=1, owner=UID, at=ago(60)), make_worker(1, 2, owner=UID)]
    around, job = Around("node-1"), body("Training", workers={"replicas": 2})
    reconciler = look(Server(), job, *crashed, around=around)
    assert around.asked == ["node-0", "node-1"]
    status = reconciler.jobs.body(REF)["status"]  # type: ignore[index]
    assert (status["restarts"], status["countedRestarts"], status["failure"]["reason"]) == (3, 1, "NodeLost")


def test_nodes_are_not_asked_about_while_all_is_well() -> None:
    around = Around()
    look(Server(), body("Training", workers={"replicas": 2}), *workers(), around=around)
    assert around.asked == []


@pytest.mark.parametrize("phase", ["Starting", "Training"])
def test_a_gang_that_is_well_costs_no_request_but_its_status(phase: str) -> None:
    """Twice: figures, which are written once, and nothing new."""
    server, around = Server(), Around()
    told = workers(annotations={SCHEDULER_ANNOTATION: "10.244.0.1"})
    look(server, body(phase, workers={"replicas": 2}), *told, around=around, times=2)
    assert set(server.asked) <= {"replace status"}
    assert len(server.asked) <= 1
    assert (around.asked, around.reads) == ([], 0)


def test_nodes_are_not_asked_about_while_the_peers_of_a_failed_pod_may_tell_the_cause() -> None:
    around = Around("node-1")
    crashed = [make_ended(0, 2, code=1, owner=UID, at=ago(1)), make_worker(1, 2, owner=UID)]
    look(Server(), body("Training", workers={"replicas": 2}), *crashed, around=around)
    assert around.asked == []


def test_a_job_is_decided_on_once_in_a_look_with_lost_nodes_known(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions: list[frozenset[str]] = []

    def decide(observed: Any, *rest: Any) -> Any:
        decisions.append(observed.lost_nodes)
        return reconciling_decide(observed, *rest)

    reconciling_decide = reconciling.decide
    monkeypatch.setattr(reconciling, "decide", decide)
    crashed = [make_ended(0, 2, code=1, owner=UID, at=ago(60)), make_worker(1, 2, owner=UID)]
    leaving = make_worker(0, 1, uid="old", owner=UID, node="node-7", leaves_at=ago(999))
    look(Server(), body("Training", workers={"replicas": 2}), *crashed, leaving, around=Around("node-7", "node-1"))
    assert decisions == [frozenset({"node-1", "node-7"})]


def test_a_job_that_cannot_be_read_says_so_once_and_keeps_its_status() -> None:
    """A newer API server has taken a value that this release does not know."""
    job = body("Training", workers={"replicas": 2}, model={"backbone": "vit"})
    server = Server()
    reconciler = look(server, job, *workers(), times=3)
    assert server.asked == ["replace status"]
    status = reconciler.jobs.body(REF)["status"]  # type: ignore[index]
    (ready,) = [item for item in status["conditions"] if item["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "Unreadable")
    assert "spec.model.backbone" in ready["message"]
    assert {**status, "conditions": []} == {**job["status"], "conditions": []}


def test_a_status_that_is_refused_of_a_job_that_cannot_be_read_is_told_in_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(lambda verb, _: verb == "replace")
    look(server, body("Training", workers={"replicas": 2}, model={"backbone": "vit"}), *workers())
    assert server.asked == ["replace status"]
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
    assert any("job default/quick: status: " in record.getMessage() for record in caplog.records)


def test_what_an_earlier_release_could_not_read_is_not_said_of_a_job_that_is_looked_after_again() -> None:
    job = body("Training", workers={"replicas": 2})
    (ready,) = [item for item in job["status"]["conditions"] if item["type"] == "Ready"]
    ready |= {"status": "False", "reason": "Unreadable", "message": "spec.model.backbone: vit"}
    reconciler = look(Server(), job, *workers())
    told = reconciler.jobs.body(REF)["status"]["conditions"]  # type: ignore[index]
    assert [(item["status"], item["reason"]) for item in told if item["type"] == "Ready"] == [("True", "Settled")]


def test_a_job_with_what_a_newer_release_has_added_is_looked_after() -> None:
    job = body("Training", workers={"replicas": 2, "spares": 1}, voice={"loud": True})
    table = {"state": "draining", "ready": 1, "total": 2}
    job["status"] |= {"phase": "Rescaling", "rescaling": {"from": 4}, "rankTable": table}
    job["status"]["conditions"].append({"type": "Rescaled", "status": "False"})
    crashed = [make_ended(0, 2, code=1, owner=UID, at=ago(60)), make_worker(1, 2, owner=UID)]
    reconciler = look(Server(), job, *crashed)
    status = reconciler.jobs.body(REF)["status"]  # type: ignore[index]
    assert (status["phase"], status["restarts"], status["attempt"]) == ("Restarting", 3, 2)
