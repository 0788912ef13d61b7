"""A cache that is never half there, and in which the newest state of everything counts."""

from typing import Any

from arcface_operator.kubernetes.cache import Cache
from arcface_operator.kubernetes.client import JobRef

REF, OTHER = JobRef("faces", "quick"), JobRef("faces", "other")


def pod(name: str, uid: str, version: int = 1, **metadata: Any) -> dict[str, Any]:
    labels = {"arcface.io/job": "quick"}
    return {
        "metadata": {
            "name": name,
            "namespace": "faces",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": labels,
            **metadata,
        }
    }


class PodNames(Cache[JobRef, str]):
    """Names of pods, and the jobs that were told of, in this order."""

    def __init__(self, *_: Any) -> None:
        self.told: list[JobRef] = []
        super().__init__(JobRef.of_child, lambda item: f"{item['metadata']['name']}", self.told.append)

    def listed(self, version: int, *pods: dict[str, Any], namespace: str | None = None) -> None:
        fresh = self.empty()
        for each in pods:
            fresh.put(each)
        self.replace(fresh, version, namespace)


def test_a_list_takes_away_what_it_does_not_have_and_tells_of_what_has_changed() -> None:
    cache = PodNames()
    cache.listed(9, pod("a", "1"), pod("b", "2"))
    cache.told.clear()
    cache.listed(10, pod("a", "1"))
    assert (cache.of(REF), cache.told) == (["a"], [REF])
    cache.listed(11, pod("a", "1"))
    assert cache.told == [REF]


def test_what_came_in_while_a_list_was_read_is_kept_until_the_watch_tells_of_it() -> None:
    cache = PodNames()
    for each in (pod("new", "3", version=12), pod("a", "1", version=11), pod("gone", "4", version=9)):
        cache.upsert(each)
    cache.listed(9, pod("a", "1", version=3), pod("b", "2"))
    assert sorted(cache.of(REF)) == ["a", "b", "new"]
    assert cache.by_uid["1"].version == 11


def test_after_a_restore_from_a_backup_the_list_alone_counts() -> None:
    """The versions of a restored cluster begin again at those of the backup."""
    cache = PodNames()
    cache.listed(1000, pod("a", "1", version=900), pod("b", "2", version=950))
    cache.listed(500, pod("a", "1", version=400))
    assert (cache.of(REF), cache.by_uid["1"].version) == (["a"], 400)
    cache.put(pod("a", "1", version=501))
    assert cache.by_uid["1"].version == 501


def test_the_list_of_a_namespace_is_no_word_on_the_others() -> None:
    cache = PodNames()
    elsewhere = pod("z", "9", namespace="voices")
    cache.listed(9, elsewhere, namespace="voices")
    cache.listed(10, pod("a", "1"), namespace="faces")
    cache.listed(11, namespace="faces")
    assert list(cache) == ["z"]


def test_what_was_given_to_another_job_is_in_the_cache_once() -> None:
    cache = PodNames()
    cache.put(pod("a", "1", version=3))
    cache.put(pod("a", "1", version=11, labels={"arcface.io/job": "other"}))
    assert (cache.of(REF), cache.of(OTHER)) == ([], ["a"])
    assert cache.told == [REF, REF, OTHER]


def test_an_older_state_and_an_object_that_has_gone_are_not_taken_in() -> None:
    cache = PodNames()
    cache.upsert(pod("a", "1", version=5))
    cache.put(pod("renamed", "1", version=4))
    assert cache.of(REF) == ["a"]
    cache.remove(pod("a", "1", version=6))
    cache.upsert(pod("a", "1", version=5))
    assert cache.of(REF) == []


def test_an_answer_about_what_a_list_no_longer_had_brings_nothing_back() -> None:
    cache = PodNames()
    cache.upsert(pod("a", "1", version=5))
    cache.listed(9)
    cache.upsert(pod("a", "1", version=6))
    assert cache.of(REF) == []


def test_the_end_of_an_object_takes_no_namesake_away_that_was_heard_of_before_it() -> None:
    cache = PodNames()
    cache.put(pod("a", "old", version=5))
    cache.upsert(pod("a", "new", version=8))  # the answer to its creation is faster than the watch
    cache.remove(pod("a", "old", version=7))
    assert (cache.of(REF), set(cache.by_uid)) == (["a"], {"new"})


def test_what_cannot_be_read_counts_as_absent() -> None:
    cache = Cache(JobRef.of_child, lambda item: str(item["spec"]["word"]), lambda _: None)
    cache.put({**pod("a", "1"), "spec": {"word": "there"}})
    cache.put(pod("a", "1", version=2))
    assert list(cache) == []
