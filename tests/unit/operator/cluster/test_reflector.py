"""A picture that is never half there."""

import asyncio
from typing import Any

import pytest

from arcface_operator.cluster.api import Unreachable
from arcface_operator.cluster.reflector import Reflector

KEY = ("faces", "quick")


def pod(name: str, uid: str, version: int = 1) -> dict[str, Any]:
    labels = {"arcface.io/job": "quick"}
    return {
        "metadata": {"name": name, "namespace": "faces", "uid": uid, "resourceVersion": str(version), "labels": labels}
    }


class Pages:
    """Answers a list page by page; None is an API server that is away."""

    def __init__(self, *pages: list[dict[str, Any]] | None) -> None:
        self.pages = list(pages)
        self.looked: list[list[str]] = []

    async def get(self, _path: str, _query: dict[str, Any]) -> dict[str, Any]:
        self.looked.append(sorted(self.reflector.of(KEY)))
        items = self.pages.pop(0)
        if items is None:
            raise Unreachable("away")
        more = {"continue": "next"} if self.pages else {}
        return {"items": items, "metadata": {"resourceVersion": "9", **more}}


def reflector(pages: Pages) -> Reflector[str]:
    pages.reflector = Reflector(pages, "/pods", lambda item: item["metadata"]["name"], lambda _: None)  # type: ignore[arg-type]
    return pages.reflector


def test_the_old_picture_stands_until_the_new_one_is_complete() -> None:
    pages = Pages([pod("a", "1")], [pod("b", "2")])
    picture = reflector(pages)
    picture.note(pod("old", "0"))
    asyncio.run(picture.list())
    assert pages.looked == [["old"], ["old"]]
    assert sorted(picture.of(KEY)) == ["a", "b"]


def test_a_list_that_fails_half_way_takes_nothing_away() -> None:
    pages = Pages([pod("a", "1")], None)
    picture = reflector(pages)
    picture.note(pod("old", "0"))
    with pytest.raises(Unreachable):
        asyncio.run(picture.list())
    assert picture.of(KEY) == ["old"]


def test_an_older_state_and_an_object_that_has_gone_are_not_taken_in() -> None:
    picture = reflector(Pages())
    picture.note(pod("a", "1", version=5))
    picture.put(pod("renamed", "1", version=4))
    picture.remember_gone("1")
    picture.drop("1")
    picture.note(pod("a", "1", version=5))
    assert picture.of(KEY) == []
