"""The newest manifest of a job is kept, whoever brings it; which jobs are looked at, when, and how often at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from arcface_operator.controller.jobs import LAST_RETRY_SECONDS, JobStore, JobTracker, WorkQueue
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.kubernetes.client import JobRef
from arcface_operator.kubernetes.priority_semaphore import FLOW
from support.builders.views import NOW, refused_action

REF = JobRef("faces", "quick")


def body(version: int, uid: str = "a", **fields: Any) -> dict[str, Any]:
    metadata = {"namespace": "faces", "name": "quick", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, **fields}}


def test_pauses_grow_to_a_minute_and_stay_there_for_days() -> None:
    tracker = JobTracker(REF, NOW)
    failures = [tracker.count_failure() for _ in range(3000)]
    refusals = [tracker.count_vain_try([refused_action("exceeded quota")], 10.0) for _ in range(3000)]
    assert failures[:3] == [0.5, 1.0, 2.0]
    assert refusals[:3] == [10.0, 20.0, 40.0]
    assert failures[-1] == refusals[-1] == LAST_RETRY_SECONDS


def test_a_server_that_is_busy_is_given_the_time_that_it_asks_for() -> None:
    def busy(seconds: float | None) -> ActionFailure:
        return ActionFailure(condition="Ready", message="", is_lasting=False, retry_after_seconds=seconds)

    tracker = JobTracker(REF, NOW)
    assert tracker.count_vain_try([busy(None)], 10.0) == 0.5
    assert tracker.count_vain_try([busy(7.0), busy(30.0)], 10.0) == 30.0
    assert tracker.count_vain_try([busy(10.0**9)], 10.0) == 600.0
    looks = [JobTracker(REF, NOW).count_failure(wish) for wish in (None, 0.1, 30.0, 10.0**9, float("inf"))]
    assert looks == [0.5, 0.5, 30.0, 600.0, 600.0]


def test_an_older_manifest_does_not_replace_a_newer_one() -> None:
    store = JobStore()
    store.upsert(body(100))
    store.upsert(body(99))
    assert store.body(REF) == body(100)


def test_a_namesake_replaces_a_job_whatever_its_version() -> None:
    store = JobStore()
    store.upsert(body(100))
    store.upsert(body(7, uid="b"))
    assert store.body(REF) == body(7, uid="b")
    assert list(store.cache) == [body(7, uid="b")]


def test_the_end_of_a_job_does_not_take_its_namesake_away() -> None:
    store = JobStore()
    store.upsert(body(7, uid="b"))
    store.delete(body(100, uid="a"))
    assert store.body(REF) is not None
    store.delete(body(7, uid="b"))
    assert store.body(REF) is None


def test_a_job_is_told_of_when_it_changes_and_by_no_answer_that_says_the_same() -> None:
    told: list[JobRef] = []
    store = JobStore(told.append)
    for each in (body(1), body(1), body(2)):
        store.upsert(each)
    assert told == [REF, REF]


def test_managed_fields_are_not_kept() -> None:
    store = JobStore()
    store.upsert(body(1, managedFields=[{"manager": "kubectl"}]))
    assert store.body(REF) == body(1)


def test_requests_are_made_on_behalf_of_the_job_that_is_handled() -> None:
    async def play() -> dict[JobRef, object]:
        queue, flows = WorkQueue(), dict[JobRef, object]()

        async def handle(ref: JobRef) -> None:
            flows[ref] = await asyncio.create_task(in_a_task_of_its_own())

        async def in_a_task_of_its_own() -> object:
            return FLOW.get()

        worker = asyncio.create_task(queue.work(handle))
        for ref in (ONE, OTHER):
            queue.wake(ref, 0.0)
        async with asyncio.timeout(10):
            while len(flows) < 2:
                await asyncio.sleep(0)
        worker.cancel()
        return flows

    assert asyncio.run(play()) == {ONE: ONE, OTHER: OTHER}


ONE, OTHER = JobRef("faces", "one"), JobRef("faces", "other")
Scenario = Callable[[WorkQueue, list[JobRef]], Awaitable[None]]


def handled(scenario: Scenario, workers: int = 1) -> list[JobRef]:
    """The jobs in the order they were handled in, once nothing is left to do."""

    async def play() -> list[JobRef]:
        queue, seen = WorkQueue(), list[JobRef]()

        async def handle(ref: JobRef) -> None:
            seen.append(ref)
            await asyncio.sleep(0)

        tasks = [asyncio.create_task(queue.work(handle)) for _ in range(workers)]
        await scenario(queue, seen)
        async with asyncio.timeout(10):
            while queue.due.qsize() or queue.busy or queue.timers:
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        return seen

    return asyncio.run(play())


def test_what_comes_in_together_is_handled_once() -> None:
    async def scenario(queue: WorkQueue, _: list[JobRef]) -> None:
        for _ in range(100):
            queue.wake(ONE)
        queue.wake(OTHER, 0.0)

    assert handled(scenario) == [OTHER, ONE]


def test_the_earliest_time_counts() -> None:
    async def scenario(queue: WorkQueue, seen: list[JobRef]) -> None:
        queue.wake(ONE, 3600.0)
        queue.wake(ONE, 0.001)
        queue.wake(ONE, 3600.0)
        async with asyncio.timeout(10):
            while not seen:
                await asyncio.sleep(0.001)

    assert handled(scenario) == [ONE]


@pytest.mark.parametrize("workers", [1, 8])
def test_a_job_is_never_handled_twice_at_once_and_again_if_something_came_in_meanwhile(workers: int) -> None:
    async def play() -> tuple[int, int]:
        queue, running, most, count = WorkQueue(), 0, 0, 0
        done = asyncio.Event()

        async def handle(ref: JobRef) -> None:
            nonlocal running, most, count
            running, count = running + 1, count + 1
            most = max(most, running)
            if count == 1:
                queue.wake(ref, 0.0)
                queue.wake(ref, 0.0)
            for _ in range(5):
                await asyncio.sleep(0)
            running -= 1
            if count == 2:
                done.set()

        tasks = [asyncio.create_task(queue.work(handle)) for _ in range(workers)]
        queue.wake(ONE, 0.0)
        async with asyncio.timeout(10):
            await done.wait()
        for task in tasks:
            task.cancel()
        return most, count

    assert asyncio.run(play()) == (1, 2)
