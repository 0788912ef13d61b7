"""A look during which the job changes: nothing that was decided on the earlier state is written onto the later one."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from arcface_operator.kubernetes.client import CONFLICT, ApiError
from support.builders.views import ago, make_prerequisites
from support.fakes.failing_cluster import REF, Controller, FailingCluster, body

EVALUATION = {"claimName": "sets", "sets": ["lfw"]}
Change = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass
class ChangingCluster(FailingCluster):
    """The API server holds one job, which somebody changes while a look reads what the job needs."""

    stored: dict[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    """What becomes of the job during the next looks; none where it comes to nothing."""
    is_seen: bool = True
    """Whether the watch tells of a change at once."""
    seen_by: Controller | None = None
    writes: list[dict[str, Any]] = field(default_factory=list)

    async def read(self, _job: Any) -> Any:
        """Prerequisites, whose answer takes a while."""
        await asyncio.sleep(0)
        if self.changes and (changed := self.changes.pop(0)(deepcopy(self.stored))) is not None:
            self.stored = _numbered(changed, self.stored)
            if self.is_seen and self.seen_by is not None:
                self.seen_by.jobs.upsert(self.stored)
        return make_prerequisites()

    async def replace(self, path: str, body: Any, _priority: Any) -> Any:
        """A status; only onto the state, of the job, that it was decided on."""
        mine, theirs = body["metadata"], self.stored["metadata"]
        await self.answer("replace", path.rsplit("/", 1)[1], body)
        if (mine["uid"], mine["resourceVersion"]) != (theirs["uid"], theirs["resourceVersion"]):
            raise ApiError(CONFLICT, "the object has been modified")
        self.writes.append(body)
        self.stored = _numbered({**self.stored, "status": body["status"]}, self.stored)
        return self.stored


def _numbered(job: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    version = str(int(before["metadata"]["resourceVersion"]) + 1)
    return {**job, "metadata": {**job["metadata"], "resourceVersion": version}}


def look(phase: str, status: dict[str, Any], *changes: Change, is_seen: bool = True, **spec: Any) -> ChangingCluster:
    """Look at a job until nothing is due at once; the cluster with what was written."""

    async def play() -> ChangingCluster:
        job = body(phase, status, workers={"replicas": 2}, **spec)
        cluster = ChangingCluster(stored=job, changes=list(changes), is_seen=is_seen)
        cluster.seen_by = Controller(cluster, job)
        await cluster.seen_by.look()
        return cluster

    return asyncio.run(play())


def recreated(old: dict[str, Any]) -> dict[str, Any]:
    """Deleted and applied again."""
    return {**old, "metadata": {**old["metadata"], "uid": "uid-2"}, "status": {}}


def led_by_another(old: dict[str, Any]) -> dict[str, Any]:
    """Another leader has gone on with it."""
    return {**old, "status": {**old["status"], "attempt": 7, "restarts": 9}}


def annotated(old: dict[str, Any]) -> dict[str, Any]:
    """A user's note."""
    notes = {"note": old["metadata"]["resourceVersion"]}
    return {**old, "metadata": {**old["metadata"], "annotations": notes}}


def suspended(old: dict[str, Any]) -> dict[str, Any]:
    """A user's wish."""
    metadata = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
    return {**old, "metadata": metadata, "spec": {**old["spec"], "suspend": True}}


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        pytest.param("Pending", {"training_completion_time": ago(60), "attempt": 3}, id="before its evaluation"),
        pytest.param("Restarting", {"attempt": 3, "restarts": 2}, id="while it restarts"),
    ],
)
def test_a_job_that_is_applied_again_during_a_look_inherits_nothing(phase: str, status: dict[str, Any]) -> None:
    cluster = look(phase, status, recreated, evaluation=EVALUATION)
    (first, *_) = cluster.writes
    assert first["metadata"]["uid"] == "uid-2"
    told = [
        (write["status"].get("attempt", 0), "trainingCompletionTime" in write["status"]) for write in cluster.writes
    ]
    assert set(told) == {(0, False)}
    owners = {write["metadata"]["uid"] for write in cluster.writes}
    assert owners == {"uid-2"}
    assert "create Pod" in cluster.asked


def test_nothing_is_made_for_a_job_that_is_gone_by_then() -> None:
    def gone(_: dict[str, Any]) -> None:
        controller = cluster.seen_by
        assert controller is not None
        controller.jobs.delete(cluster.stored)

    cluster = ChangingCluster(stored=body("Pending", workers={"replicas": 2}), changes=[gone])

    async def play() -> None:
        cluster.seen_by = Controller(cluster, cluster.stored)
        await cluster.seen_by.look()

    asyncio.run(play())
    assert cluster.asked == []


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "not yet seen"])
def test_a_former_leader_takes_nothing_back_that_its_successor_has_written(is_seen: bool) -> None:
    cluster = look("Restarting", {"attempt": 3, "restarts": 2}, led_by_another, is_seen=is_seen)
    assert (cluster.stored["status"]["attempt"], cluster.stored["status"]["restarts"]) == (7, 9)
    assert [write["status"]["attempt"] for write in cluster.writes] == ([7] if is_seen else [])
    assert cluster.asked.count("replace status") == 1


def test_a_wish_that_comes_during_a_look_is_heeded_before_anything_is_made() -> None:
    cluster = look("Restarting", {"attempt": 3, "restarts": 2}, suspended)
    assert {write["status"]["phase"] for write in cluster.writes} == {"Suspended"}
    assert "create Pod" not in cluster.asked


def test_notes_that_are_written_all_the_time_neither_hold_a_job_up_nor_cost_a_request() -> None:
    cluster = look("Pending", {}, *[annotated] * 20)
    undisturbed = look("Pending", {})
    assert len(cluster.changes) < 20
    assert cluster.asked == undisturbed.asked
    assert "create Pod" in cluster.asked
    assert cluster.stored["metadata"]["annotations"]["note"]


def test_a_conflict_costs_a_look_and_no_more() -> None:
    """The watch has not told of a note yet when the status is written."""

    async def play() -> None:
        job = body("Pending", workers={"replicas": 2})
        cluster = ChangingCluster(stored=job, changes=[annotated], is_seen=False)
        cluster.seen_by = controller = Controller(cluster, job)
        await controller.look()
        assert (cluster.writes, REF in controller.queue.timers) == ([], True)
        controller.jobs.upsert(cluster.stored)
        await controller.look(1.0)
        assert cluster.writes
        assert cluster.asked.count("replace status") == 1 + len(cluster.writes)

    asyncio.run(play())
