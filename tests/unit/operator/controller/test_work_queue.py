"""Which jobs are looked at, when, and how often at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.kubernetes.client import JobRef

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
