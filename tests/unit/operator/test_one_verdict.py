"""Every row of the table of faults: an operator and a local run that see the same come to the same verdict.

Both go their whole way, each with pods of its own: from no pods to pods that have just been struck by a fault. What
differs is who keeps the status, who looks at the pods and who carries out what follows.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import pytest

from arcface_api.contract.launcher_words import FETCH_SECONDS, GangWord
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.fault_table.table import TABLE, Blame, Remedy, Row
from arcface_operator.decision.observation import HeardWords, stuck_since
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_report
from support.fakes.cluster_world import World
from support.fakes.local_in_world import LocalInWorld

VICTIM, PEER = "quick-worker-1", "quick-worker-0"
ALONE = {
    "a pod that made room for others",
    "a node that is gone or does not answer",
    "a pod that its kubelet ended",
    "an end that the kubelet has not seen",
    "a pod that the cluster ended, or somebody deleted",
    "a pod that is gone",
    "stopped, and nobody says why",
}
"""Faults that cost one pod of a gang at work: it is made anew in the same attempt."""


def disrupted(world: World, reason: str) -> World:
    """The cluster says why it is about to end a pod, and asks it to leave."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    return world.with_pod_status(VICTIM, conditions=[condition]).pod_deleted(VICTIM)


def unseen(world: World) -> World:
    """A node came up again quickly: its kubelet makes up how the container ended."""
    ended = world.exited(VICTIM, 255)
    (status,) = ended.pods[VICTIM]["status"]["containerStatuses"]
    made_up = {"terminated": {**status["state"]["terminated"], "reason": "Unknown"}}
    return ended.with_pod_status(VICTIM, containerStatuses=[{**status, "state": made_up}])


def never_starts(world: World) -> World:
    """A kubelet will not have the image's name."""
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image reference"}
    statuses = [{"name": "trainer", "state": {"waiting": waiting}}]
    return world.with_pod_status(VICTIM, phase="Pending", containerStatuses=statuses)


def refused(world: World) -> World:
    """A kubelet will not have the pod."""
    return world.with_pod_status(VICTIM, phase="Failed", reason="UnexpectedAdmissionError", conditions=[])


def half_done(world: World) -> World:
    """Everybody ends well long before the last step."""
    report = make_report(7).to_json()
    return world.exited(PEER, 0, report).exited(VICTIM, 0, report)


UNTOLD = {"a card that MindX calls faulty", "quota that a queue takes back"}
"""Nobody tells a run on one machine of them: there are no MindX and no queue."""
ROWS = [row for row in TABLE if row.fault not in UNTOLD]
GATHERING, STARTING, TRAINING = "gathering", "starting", "training"
FAULTS: dict[str, tuple[str, Callable[[World], World]]] = {
    "bad input, or a loss that is no number any more": (TRAINING, lambda world: world.exited(VICTIM, 3)),
    "a pod that can never start": (STARTING, never_starts),
    "there is room for a part of the gang only": (
        GATHERING,
        lambda world: world.placed(PEER, "node-0").unschedulable(VICTIM).later(400),
    ),
    "a pod that made room for others": (TRAINING, lambda world: disrupted(world, "PreemptionByScheduler")),
    "a node that is gone or does not answer": (TRAINING, lambda world: disrupted(world, "DeletionByTaintManager")),
    "a pod that its kubelet ended": (TRAINING, lambda world: world.evicted(VICTIM)),
    "an end that the kubelet has not seen": (TRAINING, unseen),
    "a pod that the cluster ended, or somebody deleted": (TRAINING, lambda world: world.pod_deleted(VICTIM)),
    "a pod that is gone": (TRAINING, lambda world: world.pod_gone(VICTIM)),
    "stopped, and nobody says why": (TRAINING, lambda world: world.exited(VICTIM, 143)),
    "an init container that failed, or a pod of which nobody says why": (
        STARTING,
        lambda world: world.with_pod_status(VICTIM, phase="Failed", conditions=[]),
    ),
    "ranks that do not start or get nowhere": (TRAINING, lambda world: world.later(2000)),
    "an end with exit code 0 before the last step": (TRAINING, half_done),
    "a pod that its kubelet would not have": (STARTING, refused),
    "any other exit code": (TRAINING, lambda world: world.exited(VICTIM, 137).exited(PEER, 1)),
}


class Side(Protocol):
    """Whoever keeps a job going; the world holds its pods."""

    world: World
    report: TrainerReport | None
    word: GangWord | None
    """What the launcher of pod 0 answers."""

    @property
    def status(self) -> ArcFaceTrainingJobStatus:
        """Where the job stands."""

    def look(self) -> object:
        """One look, and what follows from it."""


class Operator:
    """The operator of a cluster."""

    def __init__(self, job: ArcFaceTrainingJob) -> None:
        self.world = World(job=job)
        self.report: TrainerReport | None = None
        self.word: GangWord | None = None
        self.stuck_since: dict[str, datetime] = {}

    @property
    def status(self) -> ArcFaceTrainingJobStatus:
        return self.world.status

    def look(self) -> None:
        seen = self.world.observe(report=self.report)
        self.stuck_since = stuck_since(seen.pods, self.stuck_since, self.world.now)
        words = None if self.word is None else HeardWords(self.word, self.world.now)
        plan = decide(replace(seen, stuck_since=self.stuck_since, words=words), SETTINGS, self.world.now)
        self.world = self.world.carried_out(plan)


def bring_up(side: Side, moment: str) -> None:
    """From no pods to the moment at which the fault strikes."""
    side.look()
    if moment == GATHERING:
        return
    side.world = side.world.started(PEER).started(VICTIM)
    side.look()
    assert side.status.phase == "Starting"
    if moment == TRAINING:
        side.report = make_report(7)
        side.world = side.world.later(1)
        side.look()
        assert side.status.phase == "Training"


def replacing(side: Side) -> None:
    """From no pods to a gang at work that has lost one, which is made anew alone."""
    bring_up(side, TRAINING)
    side.report, side.world = None, side.world.pod_gone(VICTIM)
    side.look()
    side.look()
    assert (side.status.phase, side.status.attempt, side.status.restarts) == ("Restarting", 0, 1)


def left_behind(side: Side) -> None:
    """The new pod runs, and the launcher of the other one does not follow."""
    replacing(side)
    side.world = side.world.started(VICTIM)
    side.look()
    assert side.status.phase == "Starting"
    side.word = GangWord(attempt=0, serial=1, launch=1, pods=1)
    side.world = side.world.later(SETTINGS.launch_seconds + FETCH_SECONDS)
    side.look()


def not_replaced(side: Side) -> None:
    """There is no room for the new pod."""
    replacing(side)
    side.world = side.world.unschedulable(VICTIM).later(SETTINGS.replace_seconds)
    side.look()


IN_VAIN: dict[str, Callable[[Side], None]] = {
    "a launcher that does not start its ranks anew": left_behind,
    "a pod that another one does not take the place of": not_replaced,
}
"""Faults that follow from another one, and are a restart more: a pod was made anew in vain."""


def struck(side: Side, fault: str) -> None:
    """From no pods to what has been done about a fault."""
    if fault in IN_VAIN:
        IN_VAIN[fault](side)
        return
    moment, strike = FAULTS[fault]
    bring_up(side, moment)
    side.world = strike(side.world)
    for _ in range(3):
        side.look()
        side.world = side.world.later(SETTINGS.incurable_seconds / 2)
        if side.status.attempt or side.status.restarts or side.status.phase == "Failed":
            break


def verdict_of(side: Side, fault: str) -> dict[str, Any]:
    """What becomes of a job that a fault strikes."""
    struck(side, fault)
    status = side.status
    failure = None if status.failure is None else (status.failure.reason, status.failure.exit_code, status.failure.rank)
    return {
        "phase": status.phase,
        "attempt": status.attempt,
        "restarts": status.restarts,
        "counted": status.counted_restarts,
        "capped": len(status.uncounted_restart_times),
        "avoided": [node.name for node in status.avoided_nodes],
        "failure": failure,
        "conditions": [(item.type, item.status, item.reason, item.message) for item in status.conditions],
    }


def make(rules: tuple[dict[str, Any], ...] = ()) -> ArcFaceTrainingJob:
    return make_job(workers={"replicas": 2}, runPolicy={"failureRules": list(rules)})


def expected(row: Row) -> dict[str, Any]:
    """What a row says in the words of a status."""
    remedy, blame = row.verdict.remedy, row.verdict.blame
    before = int(row.fault in IN_VAIN)
    restarts = before + int(remedy in {Remedy.RESTART, Remedy.RESTART_FREE})
    return {
        "phase": {Remedy.FAIL: "Failed", Remedy.LET_GO: "Queued"}.get(remedy, "Restarting"),
        "attempt": int(remedy is not Remedy.FAIL and row.fault not in ALONE),
        "restarts": restarts,
        "counted": int(remedy is Remedy.RESTART),
        "capped": before + int(remedy is Remedy.RESTART_FREE and blame is not Blame.QUEUE),
        "avoided": ["node-1"] if blame is Blame.NODE else [],
    }


def test_every_row_of_the_table_is_tried() -> None:
    assert {*FAULTS, *IN_VAIN} == {row.fault for row in ROWS}
    assert {row.fault for row in TABLE if row not in ROWS} == UNTOLD


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_operator_and_local_run_come_to_the_verdict_of_the_table(row: Row) -> None:
    of_operator, of_local = (verdict_of(side(make()), row.fault) for side in (Operator, LocalInWorld))
    assert of_local == of_operator
    assert {name: of_operator[name] for name in expected(row)} == expected(row)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.verdict.remedy is not Remedy.LET_GO], ids=lambda row: row.fault
)
@pytest.mark.parametrize("action", ["Restart", "RestartUncounted", "Fail"])
def test_operator_and_local_run_follow_the_same_rules_of_the_user(row: Row, action: str) -> None:
    reason, _, _ = verdict_of(Operator(make()), row.fault)["failure"]
    rule = {"reasons": [reason], "action": action}
    of_operator, of_local = (verdict_of(side(make((rule,))), row.fault) for side in (Operator, LocalInWorld))
    assert of_local == of_operator
    assert (of_operator["phase"] == "Failed") == (action == "Fail")
    assert of_operator["counted"] == (action == "Restart")
