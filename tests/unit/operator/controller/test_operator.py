"""What the operator is begun anew after, what ends it, and that it keeps nothing of jobs that are gone."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf
import pytest
from kopf._cogs.clients.errors import APIServerError

from arcface_api.errors import ArcFaceError
from arcface_operator.controller.operator import Operator, Options, until_it_ends
from arcface_operator.kubernetes.priority_semaphore import PrioritySemaphore
from arcface_operator.settings import Settings
from support.builders.jobs import job_document

Manifest = dict[str, Any]


class Replica:
    """Ends each time as it is told to, then by itself."""

    def __init__(self, *ends: BaseException) -> None:
        self.ends, self.runs = list(ends), 0

    async def run(self) -> None:
        self.runs += 1
        if self.ends:
            raise self.ends.pop(0)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectionError(),
        APIServerError(None, status=503, headers={}),
        TimeoutError(),
        kopf.LoginError(),
        ConnectionResetError(),
    ],
    ids=repr,
)
def test_kopf_is_begun_anew_where_the_api_server_is_away(error: Exception) -> None:
    replica = Replica(error, error)
    asyncio.run(until_it_ends(replica.run, pause_seconds=0.0))
    assert replica.runs == 3


@pytest.mark.parametrize(
    "error",
    [TypeError(), ExceptionGroup("of the work", [KeyError()]), ArcFaceError("the leadership is lost")],
    ids=repr,
)
def test_an_error_of_ours_ends_the_process(error: Exception) -> None:
    replica = Replica(error)
    with pytest.raises(type(error)):
        asyncio.run(until_it_ends(replica.run, pause_seconds=0.0))
    assert replica.runs == 1


class TakesAll:
    """An API server that takes whatever is written; what comes of it the test tells the caches itself."""

    def __init__(self) -> None:
        self.semaphore = PrioritySemaphore(16)
        self.serial = itertools.count(100)
        self.made: dict[tuple[str, str], Manifest] = {}
        """Newest state by kind and name."""

    async def find(self, _path: str) -> None:
        """Nothing that is asked for by name is there."""

    async def create(self, manifest: Manifest, *_: object, **__: object) -> Manifest:
        number = str(next(self.serial))
        given = {"uid": number, "creationTimestamp": "2026-01-01T00:00:00Z"}
        body = {"status": {}, **manifest, "metadata": {**given, **manifest["metadata"], "resourceVersion": number}}
        self.made[body["kind"], body["metadata"]["name"]] = body
        return body

    async def apply(self, manifest: Manifest, **_: object) -> Manifest:
        return await self.create(manifest)

    async def replace(self, _path: str, body: Manifest, *_: object) -> Manifest:
        return await self.create(body)

    async def merge(self, *_: object) -> None:
        """Nobody reads the annotations."""

    async def delete(self, *_: object) -> None:
        """The test takes out what is to go."""


class Life:
    """A job that comes, trains and goes, as an operator sees it; nobody answers at its pods' address."""

    def __init__(self) -> None:
        self.api: Any = TakesAll()
        options = Options(has_election=False)
        self.operator = Operator(self.api, self.api, Settings(starting_poll_seconds=0.05), options)
        kinds = ("jobs", "pods", "services", "config_maps")
        self.caches = {kind: getattr(self.operator.watches, kind).cache for kind in kinds}

    async def lead(self) -> None:
        """From the job's creation until it is listened to."""
        for claim in ("faces", "checkpoints"):
            metadata = {"namespace": "default", "name": claim, "uid": claim, "resourceVersion": "1"}
            bound = {"metadata": metadata, "spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
            self.operator.watches.claims.cache.put(bound)
        document = job_document("quick", "uid-1", workers={"accelerator": "cpu", "replicas": 2})
        document["metadata"]["namespace"] = "default"
        self.caches["jobs"].put(await self.api.create(document))
        await look_until(lambda: len(self.caches["pods"].by_uid) == 2)
        for pod in [each for (kind, _), each in self.api.made.items() if kind == "Pod"]:
            running = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
            node = {"spec": {**pod["spec"], "nodeName": "node-1"}}
            self.caches["pods"].put(await self.api.create({**pod, **node, "status": running}))
        await look_until(lambda: self.kept()["last"] and self.kept()["tasks"])

    def end(self) -> None:
        """The job and all that belongs to it are gone, in the order in which garbage collection takes them."""
        for cache in self.caches.values():
            for entry in list(cache.by_uid.values()):
                cache.remove({"metadata": {"uid": entry.uid}})

    def kept(self) -> dict[str, int]:
        """How much there is in every place that may hold something of a job."""
        queue, poller, listener = self.operator.queue, self.operator.poller, self.operator.listener
        places: dict[str, Any] = {name: cache.by_uid for name, cache in self.caches.items()}
        places |= {f"{name} by key": cache.by_key for name, cache in self.caches.items()}
        places |= {"parsed": self.operator.watches.store.parsed, "trackers": self.operator.reconciler.trackers}
        places |= {name: getattr(queue, name) for name in ("waiting", "busy", "again", "timers")}
        places |= {name: getattr(poller, name) for name in ("polls", "answers", "last")}
        places |= {name: getattr(listener, name) for name in ("tasks", "words")}
        return {name: len(place) for name, place in places.items()}


async def look_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def test_nothing_is_kept_of_a_job_that_is_gone() -> None:
    async def play() -> None:
        life = Life()
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(life.operator.queue.work(life.operator.reconciler.handle)) for _ in range(2)]
            await life.lead()
            assert all(life.kept()[name] for name in ("jobs", "pods", "services", "config_maps", "trackers", "parsed"))
            life.end()
            await look_until(lambda: not any(life.kept().values()))
            for worker in workers:
                worker.cancel()
        await life.operator.poller.close()
        await life.operator.listener.close()

    asyncio.run(play())
