"""A collection that is listed and watched for ever, whatever its API server answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from arcface_operator.kubernetes import informer as informing
from arcface_operator.kubernetes.cache import Cache
from arcface_operator.kubernetes.client import ApiError, JobRef, Unreachable
from arcface_operator.kubernetes.informer import CALM_SECONDS, Backoff, Informer, Reflector

REF = JobRef("faces", "quick")
Answer = list[Any] | Exception


def pod(name: str, version: int = 1) -> dict[str, Any]:
    metadata = {
        "namespace": "faces",
        "uid": name,
        "resourceVersion": str(version),
        "labels": {"arcface.io/job": "quick"},
    }
    return {"metadata": {"name": name, **metadata}}


class Server:
    """Answers lists and watches as it is told to, the last one for ever; a watch without an end is `...` at its end."""

    def __init__(self, *lists: Answer, watches: tuple[Answer, ...] = ([...],)) -> None:
        self.lists, self.watches = list(lists), list(watches)
        self.asked: list[str] = []

    async def get(self, _path: str, query: dict[str, Any]) -> dict[str, Any]:
        self.asked.append("more" if "continue" in query else "list")
        answer = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(answer, Exception):
            raise answer
        items = [item for item in answer if item is not ...]
        more = {"continue": "next"} if ... in answer else {}
        return {"items": items, "metadata": {"resourceVersion": str(9 + len(self.asked)), **more}}

    async def watch(self, _path: str, _query: dict[str, Any]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.asked.append("watch")
        answer = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        if isinstance(answer, Exception):
            raise answer
        for event in answer:
            if event is ...:
                await asyncio.Event().wait()
            yield event


def reflector(server: Server) -> Reflector[JobRef, str]:
    api: Any = server
    return Reflector(api, "/pods", Cache(JobRef.of_child, lambda item: str(item["metadata"]["name"]), lambda _: None))


def run_until(server: Server, condition: Callable[[Reflector[JobRef, str]], object]) -> Reflector[JobRef, str]:
    """The reflector once a condition holds."""

    async def play() -> Reflector[JobRef, str]:
        found = reflector(server)
        task = asyncio.create_task(found.run())
        async with asyncio.timeout(20):
            while not condition(found):
                assert not task.done()
                await asyncio.sleep(0.001)
        task.cancel()
        return found

    return asyncio.run(play())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informing, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(informing, "LAST_PAUSE_SECONDS", 0.001)


def test_the_old_cache_stands_until_the_new_one_is_complete() -> None:
    found = reflector(Server([pod("a"), ...], [pod("b")]))
    found.cache.put(pod("old"))
    looked: list[list[str]] = []
    get = found.api.get

    async def looking(path: str, query: Any = None) -> Any:
        looked.append(found.cache.of(REF))
        return await get(path, query)

    found.api.get = looking  # type: ignore[method-assign]
    asyncio.run(found.list())
    assert looked == [["old"], ["old"]]
    assert sorted(found.cache.of(REF)) == ["a", "b"]


def test_a_list_that_fails_half_way_takes_nothing_away() -> None:
    found = reflector(Server([pod("a"), ...], Unreachable("away")))
    found.cache.put(pod("old"))
    with pytest.raises(Unreachable):
        asyncio.run(found.list())
    assert found.cache.of(REF) == ["old"]


def test_pages_that_are_too_old_to_go_on_with_are_asked_for_from_the_first() -> None:
    """An API server keeps what a paged list began with for five minutes, and says 410 then."""
    server = Server([pod("a"), ...], ApiError(410, "The provided continue parameter is too old"), [pod("b")])
    found = run_until(server, lambda found: found.is_current and "watch" in server.asked)
    assert server.asked == ["list", "more", "list", "watch"]
    assert found.cache.of(REF) == ["b"]


TROUBLE = [
    pytest.param(ApiError(404, "the server could not find the requested resource"), id="the kind is not there yet"),
    pytest.param(ApiError(403, "cannot list resource"), id="the right comes later"),
    pytest.param(ApiError(503, "unavailable"), id="unavailable"),
    pytest.param(ApiError(429, "too many requests"), id="too many requests"),
    pytest.param(Unreachable("no route"), id="no route"),
    pytest.param(KeyError("metadata"), id="something else answers"),
]


@pytest.mark.parametrize("error", TROUBLE)
def test_it_goes_on_by_itself_once_the_list_can_be_had(error: Exception) -> None:
    found = run_until(Server(*[error] * 60, [pod("a")]), lambda found: found.is_current)
    assert found.cache.of(REF) == ["a"]


@pytest.mark.parametrize("error", [ApiError(410, "too old"), ApiError(500, "etcd leader changed"), *TROUBLE])
def test_an_error_in_the_stream_is_mended_by_a_new_list(error: Any) -> None:
    """ERROR frames of any code, not 410 alone."""
    server = Server([pod("a")], [pod("b")], watches=([("ADDED", pod("c", 10))], error, [...]))
    found = run_until(server, lambda found: found.cache.of(REF) == ["b"] and found.is_current)
    assert server.asked == ["list", "watch", "watch", "list", "watch"]
    assert found.complaint == ""


def test_events_are_taken_in_and_a_stream_that_ends_goes_on_where_it_was() -> None:
    first = [("ADDED", pod("b", 20)), ("DELETED", pod("a", 21)), ("BOOKMARK", {"metadata": {"resourceVersion": "30"}})]
    server = Server([pod("a")], watches=(first, [("MODIFIED", pod("c", 31)), ...]))
    found = run_until(server, lambda found: sorted(found.cache.of(REF)) == ["b", "c"])
    assert server.asked == ["list", "watch", "watch"]
    assert found.is_current


def test_a_watch_that_closes_at_once_is_no_loop_of_watches() -> None:
    """A proxy or an overloaded API server may take a watch and close it: each time there is a pause and a new list."""
    server = Server([pod("a")], watches=([],))
    run_until(server, lambda _: len(server.asked) >= 20)
    assert server.asked[:20] == ["list", "watch"] * 10


def test_pauses_grow_and_begin_anew_after_a_calm_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informing, "FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(informing, "LAST_PAUSE_SECONDS", 15.0)
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert backoff.after(CALM_SECONDS + 1) == 1.0


def test_what_may_not_be_seen_is_known_to_have_been_tried_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(ApiError(403, "pods is forbidden"))
    found = run_until(server, lambda _: len(server.asked) > 5)
    assert found.has_tried.is_set()
    assert (found.is_listed.is_set(), found.is_current, found.is_refused) == (False, False, True)
    assert [record.getMessage() for record in caplog.records] == ["watch of /pods: 403: pods is forbidden"]


def test_a_cache_whose_watch_is_broken_is_not_current() -> None:
    server = Server([pod("a")], Unreachable("away"), watches=(Unreachable("away"),))
    found = run_until(server, lambda found: found.is_listed.is_set() and not found.is_current)
    assert found.cache.of(REF) == ["a"]


def blind(server: Server, condition: Callable[[Reflector[JobRef, str]], object]) -> Informer[JobRef, str]:
    """An informer whose only reflector has seen the objects, and was followed until a condition held."""
    found = run_until(server, lambda found: found.is_listed.is_set() and condition(found))
    informer: Informer[JobRef, str] = Informer(found.api, ("v1", "pods"), found.cache, (None,))
    informer.reflectors[None] = found
    return informer


def test_objects_that_may_not_be_seen_any_more_are_unseen_at_once() -> None:
    forbidden = ApiError(403, "pods is forbidden")
    found = blind(Server([pod("a")], forbidden, watches=([],)), lambda found: found.is_refused)
    assert (found.error_of("faces"), found.is_settled) == (forbidden, False)
    assert found.of(REF) == ["a"]


@pytest.mark.parametrize("error", [Unreachable("away"), ApiError(503, "unavailable"), KeyError("metadata")])
@pytest.mark.parametrize("stale_seconds", [0.0, 3600.0])
def test_objects_are_unseen_once_neither_list_nor_watch_has_gone_well_for_a_while(
    monkeypatch: pytest.MonkeyPatch, error: Exception, stale_seconds: float
) -> None:
    monkeypatch.setattr(informing, "STALE_SECONDS", stale_seconds)
    server = Server([pod("a")], error, watches=([],))
    found = blind(server, lambda found: not found.is_current and len(server.asked) > 5)
    why = str(found.error_of("faces"))
    told = "unexpected KeyError" if isinstance(error, KeyError) else str(error)
    assert (why, found.is_settled) == ((told, False) if stale_seconds == 0.0 else ("None", True))
    assert found.is_known("faces") == found.is_settled


def test_objects_that_can_be_seen_again_are_seen() -> None:
    server = Server([pod("a")], ApiError(403, "pods is forbidden"), [pod("b")], watches=([], [...]))
    found = blind(server, lambda found: found.is_current and found.cache.of(REF) == ["b"])
    assert (found.error_of("faces"), found.is_settled) == (None, True)
