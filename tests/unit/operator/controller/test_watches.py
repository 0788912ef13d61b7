"""What is watched where, what waits for what, and who is woken."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from arcface_api.contract.pod_environment import JOB_LABEL
from arcface_operator.controller.jobs import JobStore, WorkQueue
from arcface_operator.controller.watches import Watches
from arcface_operator.decision.prerequisites import claims_of
from arcface_operator.kubernetes import informer
from arcface_operator.kubernetes.client import ApiError, JobRef
from support.builders.jobs import job_document, make_job

Look = Callable[[JobStore, Watches], object]
JOBS = "/apis/arcface.io/v1alpha1/"


def body(namespace: str) -> dict[str, Any]:
    document = job_document("quick")
    metadata = {"namespace": namespace, "uid": f"{namespace}-1", "resourceVersion": "1"}
    return {**document, "metadata": {**document["metadata"], **metadata}}


class Server:
    """Collections by path; every other one is empty; a watch says nothing more."""

    def __init__(self) -> None:
        self.collections: dict[str, list[dict[str, Any]] | Exception] = {}
        self.asked: list[str] = []

    async def get(self, path: str, _query: Any) -> dict[str, Any]:
        self.asked.append(path)
        answer = self.collections.get(path, [])
        if isinstance(answer, Exception):
            raise answer
        return {"items": answer, "metadata": {"resourceVersion": "9"}}

    async def watch(self, *_: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(informer, "LAST_PAUSE_SECONDS", 0.001)


def watch(server: Server, *namespaces: str, until: Look, then: Look = lambda *_: None) -> Watches:
    """The watches once a condition holds."""

    async def play() -> Watches:
        api: Any = server
        queue = WorkQueue()
        store = JobStore(lambda ref: queue.wake(ref, 0.0))
        watches = Watches(api, store, queue, namespaces)

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                watches.start(tasks)

        running = asyncio.create_task(run())
        async with asyncio.timeout(20):
            while not until(store, watches):
                assert not running.done()
                await asyncio.sleep(0.001)
        then(store, watches)
        running.cancel()
        await asyncio.wait({running})
        return watches

    return asyncio.run(play())


def known(store: JobStore) -> set[str]:
    return {job["metadata"]["namespace"] for job in store.cache}


FORBIDDEN = ApiError(403, "is forbidden")


@pytest.mark.parametrize("kind", ["pods", "jobs"])
def test_a_namespace_that_is_forbidden_stops_no_other(kind: str) -> None:
    server = Server()
    for name in ("faces", "voices"):
        server.collections[f"{JOBS}namespaces/{name}/arcfacetrainingjobs"] = [body(name)]
    path = "/api/v1/namespaces/faces/pods" if kind == "pods" else f"{JOBS}namespaces/faces/arcfacetrainingjobs"
    granted, server.collections[path] = server.collections.get(path, []), FORBIDDEN
    found = watch(server, "faces", "voices", until=lambda store, watches: known(store) and watches.is_settled)
    assert known(found.store) == {"voices"}
    server.collections[path] = granted  # the right, or the namespace, comes later
    found = watch(server, "faces", "voices", until=lambda store, _: len(known(store)) == 2)
    assert known(found.store) == {"faces", "voices"}


def test_jobs_are_not_looked_at_before_their_pods_are_known() -> None:
    """A job of which no pod is known would seem to have lost them all."""
    server = Server()
    server.collections |= {f"{JOBS}arcfacetrainingjobs": [body("faces")], "/api/v1/pods": ApiError(503, "unavailable")}

    def pods_come(store: JobStore, watches: Watches) -> None:
        assert known(store) == set()
        assert not watches.is_settled
        assert f"{JOBS}arcfacetrainingjobs" not in server.asked

    watch(server, until=lambda *_: server.asked.count("/api/v1/pods") > 20, then=pods_come)


def test_what_is_not_indispensable_is_waited_for_only_until_it_was_asked_for() -> None:
    server = Server()
    server.collections[f"{JOBS}arcfacetrainingjobs"] = [body("faces")]
    for path in ("nodes", "services", "configmaps", "persistentvolumeclaims"):
        server.collections[f"/api/v1/{path}"] = FORBIDDEN
    found = watch(server, until=lambda store, _: known(store))
    assert found.objects(JobRef("faces", "quick")) is None
    assert not found.nodes.is_current()


def test_jobs_are_found_when_their_kind_comes_after_the_operator() -> None:
    server = Server()
    path = f"{JOBS}arcfacetrainingjobs"
    server.collections[path] = ApiError(404, "the server could not find the requested resource")

    def found(store: JobStore, _: Watches) -> bool:
        if server.asked.count(path) == 20:
            server.collections[path] = [body("faces")]
        return bool(known(store))

    watch(server, until=found)


FOUR_CLAIMS: dict[str, Any] = {
    "data": {"claimName": "faces"},
    "checkpoint": {"claimName": "checkpoints"},
    "evaluation": {"claimName": "sets", "sets": ["lfw"]},
    "model": {"initFrom": {"claimName": "models", "path": "a"}},
}


@pytest.mark.parametrize("name", claims_of(make_job(**FOUR_CLAIMS)))
def test_each_claim_that_a_job_names_wakes_it(name: str) -> None:
    async def play() -> set[JobRef]:
        api: Any = Server()
        queue, store = WorkQueue(), JobStore()
        watches = Watches(api, store, queue, ())
        job = body("faces")
        store.upsert({**job, "spec": {**job["spec"], **FOUR_CLAIMS}})
        metadata = {"name": name, "namespace": "faces", "uid": "1", "resourceVersion": "1"}
        watches.claims.upsert({"metadata": metadata, "spec": {}, "status": {"phase": "Bound"}})
        return set(queue.timers)

    assert asyncio.run(play()) == {JobRef("faces", "quick")}


def test_a_claim_wakes_the_jobs_that_name_it() -> None:
    async def play() -> set[JobRef]:
        api: Any = Server()
        queue = WorkQueue()
        store = JobStore()
        watches = Watches(api, store, queue, ())
        for name in ("faces", "voices"):
            store.upsert(body(name))
        metadata = {"name": "faces", "namespace": "voices", "uid": "1", "resourceVersion": "1"}
        watches.claims.upsert({"metadata": metadata, "spec": {}, "status": {"phase": "Bound"}})
        return set(queue.timers)

    assert asyncio.run(play()) == {JobRef("voices", "quick")}


def child(kind: str, name: str, job: str = "quick") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "faces", "labels": {JOB_LABEL: job}, "uid": name, "resourceVersion": "5"}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def test_a_child_is_known_not_to_be_there_where_its_kind_is_watched() -> None:
    server = Server()
    server.collections |= {
        f"{JOBS}arcfacetrainingjobs": [body("faces")],
        "/api/v1/services": [child("Service", "quick")],
        "/api/v1/configmaps": FORBIDDEN,
    }

    def check(_: JobStore, watches: Watches) -> None:
        assert not watches.lacks(child("Service", "quick"))
        assert watches.lacks(child("Service", "other", "other"))
        assert not watches.lacks(child("ConfigMap", "quick-config")), "nobody sees ConfigMaps"
        assert not watches.lacks(child("PodGroup", "quick")), "nobody watches groups"
        watches.upsert(child("Service", "other", "other"))
        assert not watches.lacks(child("Service", "other", "other"))

    watch(server, until=lambda store, _: known(store), then=check)
