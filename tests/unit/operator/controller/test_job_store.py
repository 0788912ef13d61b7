"""The newest manifest of a job is kept, whoever brings it and in whatever order."""

from typing import Any

from arcface_operator.controller.job_store import JobStore

KEY = ("faces", "quick")


def body(version: int, uid: str = "a", **fields: Any) -> dict[str, Any]:
    metadata = {"namespace": "faces", "name": "quick", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, **fields}}


def test_an_older_manifest_does_not_replace_a_newer_one() -> None:
    store = JobStore()
    assert store.see(body(100))
    assert not store.see(body(99))
    assert store.body(KEY) == body(100)


def test_a_namesake_replaces_a_job_whatever_its_version() -> None:
    store = JobStore()
    store.see(body(100))
    assert store.see(body(7, uid="b"))
    assert store.body(KEY) == body(7, uid="b")


def test_the_end_of_a_job_does_not_take_its_namesake_away() -> None:
    store = JobStore()
    store.see(body(7, uid="b"))
    store.forget(body(100, uid="a"))
    assert store.body(KEY) is not None
    store.forget(body(7, uid="b"))
    assert store.body(KEY) is None


def test_a_list_takes_away_what_was_known_before_it_and_nothing_that_came_meanwhile() -> None:
    store = JobStore()
    store.see(body(100, uid="a"))
    before = store.uids()
    store.keep({"a"}, before)
    assert store.uids() == {"a"}
    store.see(body(101, uid="b"))
    store.keep(set(), before)
    assert store.uids() == {"b"}


def test_managed_fields_are_not_kept() -> None:
    store = JobStore()
    store.see(body(1, managedFields=[{"manager": "kubectl"}]))
    assert store.body(KEY) == body(1)
