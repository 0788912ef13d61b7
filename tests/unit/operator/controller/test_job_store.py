"""The newest manifest of a job is kept, whoever brings it and in whatever order."""

from typing import Any

from arcface_operator.controller.job_store import JobStore
from arcface_operator.kubernetes.client import JobRef

REF = JobRef("faces", "quick")


def body(version: int, uid: str = "a", **fields: Any) -> dict[str, Any]:
    metadata = {"namespace": "faces", "name": "quick", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, **fields}}


def test_an_older_manifest_does_not_replace_a_newer_one() -> None:
    store = JobStore()
    assert store.upsert(body(100))
    assert not store.upsert(body(99))
    assert store.body(REF) == body(100)


def test_a_namesake_replaces_a_job_whatever_its_version() -> None:
    store = JobStore()
    store.upsert(body(100))
    assert store.upsert(body(7, uid="b"))
    assert store.body(REF) == body(7, uid="b")


def test_the_end_of_a_job_does_not_take_its_namesake_away() -> None:
    store = JobStore()
    store.upsert(body(7, uid="b"))
    store.delete(body(100, uid="a"))
    assert store.body(REF) is not None
    store.delete(body(7, uid="b"))
    assert store.body(REF) is None


def test_a_list_takes_away_what_was_known_before_it_and_nothing_that_came_meanwhile() -> None:
    store = JobStore()
    store.upsert(body(100, uid="a"))
    before = store.uids()
    store.retain({"a"}, before)
    assert store.uids() == {"a"}
    store.upsert(body(101, uid="b"))
    store.retain(set(), before)
    assert store.uids() == {"b"}


def test_managed_fields_are_not_kept() -> None:
    store = JobStore()
    store.upsert(body(1, managedFields=[{"manager": "kubectl"}]))
    assert store.body(REF) == body(1)
