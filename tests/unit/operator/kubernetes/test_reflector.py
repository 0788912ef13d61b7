"""A cache that is never half there."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from arcface_operator.kubernetes.client import JobRef, Unreachable
from arcface_operator.kubernetes.reflector import Reflector

REF = JobRef("faces", "quick")


def pod(name: str, uid: str, version: int = 1) -> dict[str, Any]:
    labels = {"arcface.io/job": "quick"}
    return {
        "metadata": {"name": name, "namespace": "faces", "uid": uid, "resourceVersion": str(version), "labels": labels}
    }


class Pages:
    """Answers a list page by page; None is an API server that is away."""

    def __init__(self, *pages: list[dict[str, Any]] | None, meanwhile: Sequence[dict[str, Any]] = ()) -> None:
        self.pages = list(pages)
        self.looked: list[list[str]] = []
        self.meanwhile = meanwhile

    async def get(self, _path: str, _query: dict[str, Any]) -> dict[str, Any]:
        self.looked.append(sorted(self.reflector.of(REF)))
        items = self.pages.pop(0)
        for item in self.meanwhile:
            self.reflector.upsert(item)
        if items is None:
            raise Unreachable("away")
        more = {"continue": "next"} if self.pages else {}
        return {"items": items, "metadata": {"resourceVersion": "9", **more}}


def reflector(pages: Pages) -> Reflector[str]:
    pages.reflector = Reflector(pages, "/pods", lambda item: item["metadata"]["name"], lambda _: None)  # type: ignore[arg-type]
    return pages.reflector


def test_the_old_cache_stands_until_the_new_one_is_complete() -> None:
    pages = Pages([pod("a", "1")], [pod("b", "2")])
    cache = reflector(pages)
    cache.upsert(pod("old", "0"))
    asyncio.run(cache.list())
    assert pages.looked == [["old"], ["old"]]
    assert sorted(cache.of(REF)) == ["a", "b"]


def test_what_was_made_while_the_list_was_read_is_kept_until_the_watch_tells_of_it() -> None:
    made = [pod("new", "3", version=12), pod("a", "1", version=11), pod("gone", "4", version=9)]
    pages = Pages([pod("a", "1", version=3)], [pod("b", "2")], meanwhile=made)
    cache = reflector(pages)
    asyncio.run(cache.list())  # of version 9
    assert sorted(cache.of(REF)) == ["a", "b", "new"]
    assert cache.entries["1"].version == 11


def test_what_was_given_to_another_job_meanwhile_is_in_the_cache_once() -> None:
    moved = pod("a", "1", version=11)
    moved["metadata"]["labels"]["arcface.io/job"] = "other"
    cache = reflector(Pages([pod("a", "1", version=3)], [], meanwhile=[moved]))
    asyncio.run(cache.list())
    assert (cache.of(REF), cache.of(JobRef("faces", "other"))) == ([], ["a"])


def test_a_list_that_fails_half_way_takes_nothing_away() -> None:
    pages = Pages([pod("a", "1")], None)
    cache = reflector(pages)
    cache.upsert(pod("old", "0"))
    with pytest.raises(Unreachable):
        asyncio.run(cache.list())
    assert cache.of(REF) == ["old"]


def test_an_older_state_and_an_object_that_has_gone_are_not_taken_in() -> None:
    cache = reflector(Pages())
    cache.upsert(pod("a", "1", version=5))
    cache.put(pod("renamed", "1", version=4))
    cache.bury("1")
    cache.drop("1")
    cache.upsert(pod("a", "1", version=5))
    assert cache.of(REF) == []
