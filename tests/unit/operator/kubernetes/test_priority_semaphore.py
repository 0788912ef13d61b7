"""Who goes first when there are more requests than slots."""

import asyncio

import pytest

from arcface_operator.kubernetes.priority_semaphore import FLOW, Priority, PrioritySemaphore


def order(slots: int, *requests: tuple[str, Priority]) -> list[str]:
    """In which order requests that come in together are let in; each holds its slot for a moment."""

    async def play() -> list[str]:
        semaphore, entered = PrioritySemaphore(slots), list[str]()

        async def ask(name: str, priority: Priority) -> None:
            async with semaphore.acquire(priority):
                entered.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(*(ask(*request) for request in requests))
        assert semaphore.free == slots
        assert not any(semaphore.waiting.values())
        return entered

    return asyncio.run(play())


def test_requests_of_low_priority_wait_for_all_others() -> None:
    asked = [("event a", Priority.LOW), ("event b", Priority.LOW), ("pod a", Priority.HIGH), ("pod b", Priority.HIGH)]
    assert order(1, *asked) == ["event a", "pod a", "pod b", "event b"]


def test_requests_of_one_priority_go_in_their_order() -> None:
    names = [f"pod {number}" for number in range(20)]
    assert order(3, *((name, Priority.HIGH) for name in names)) == names


def test_a_job_with_thousands_of_pods_holds_no_other_up() -> None:
    async def play() -> list[str]:
        semaphore, entered = PrioritySemaphore(16), list[str]()

        async def ask(job: str) -> None:
            async with semaphore.acquire(Priority.HIGH):
                entered.append(job)
                await asyncio.sleep(0)

        async def create(job: str, pods: int) -> None:
            FLOW.set(job)
            await asyncio.gather(*(ask(job) for _ in range(pods)))

        large = asyncio.create_task(create("large", 4096))
        while len(entered) < 32:
            await asyncio.sleep(0)
        await asyncio.gather(large, *(asyncio.create_task(create(f"small {number}", 8)) for number in range(3)))
        return entered

    entered = asyncio.run(play())
    assert len(entered) == 4096 + 3 * 8
    last = max(place for place, job in enumerate(entered) if job != "large")
    assert last < 32 + 16 + 4 * 8 + 16  # they take turns with the large one, from when they came


def test_a_slot_that_was_given_to_somebody_who_gave_up_is_not_lost() -> None:
    async def play() -> tuple[int, bool]:
        semaphore = PrioritySemaphore(1)

        async def hold() -> None:
            async with semaphore.acquire(Priority.HIGH):
                pass

        held = semaphore.acquire(Priority.HIGH)
        await held.__aenter__()
        given_up, given = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)  # both wait
        given.cancel()
        await held.__aexit__(None, None, None)  # the slot is the first one's, which has not run yet
        given_up.cancel()
        for task in (given_up, given):
            with pytest.raises(asyncio.CancelledError):
                await task
        return semaphore.free, any(semaphore.waiting.values())

    assert asyncio.run(play()) == (1, False)
