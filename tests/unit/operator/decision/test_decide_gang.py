"""A gang of pods, whole or in ruins, in every phase."""

from typing import Any

import pytest

from arcface_api.contract.reports import ReportedFailure, Standstill, TrainerReport
from arcface_api.resource.status import Condition, FailureStatus, RankTableStatus, Recovery
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import Observation, PodView, view_pod
from arcface_operator.decision.plan import Delete
from arcface_operator.manifests.worker_pod import build_worker_pod
from support import decision_table
from support.builders.jobs import make_job
from support.builders.plans import plan_in
from support.builders.views import (
    ASCEND,
    LAST_REPORT,
    NOW,
    SETTINGS,
    ago,
    make_ended,
    make_prerequisites,
    make_report,
    make_worker,
    refused_action,
    timestamp,
)
from support.decision_table import action_word, assert_cell, observation_in, status_in

FILLED = {"waiting": "Starting Ready=Ready !Training=Starting", "suspended": "+resume delete:0,1"}
"""All pods exist; a job that was suspended begins with pods of its own."""
CREATE = "!Ready=Creating apply:service,config create:0,1"
EVALUATE = "Pending +next !Training=Trained !Evaluated=Pending"
LATE = "Restarting +counted !Training=StartupDeadlineExceeded failure:StartupDeadlineExceeded"
LOST = "Restarting +free !Training=PodLost failure:PodLost"
LOST_AT_WORK = "Restarting *free !Training=PodLost failure:PodLost"
STUCK = {"phase": "Pending", "is_ready": False, "address": None}
"""It has a node and does not run."""
WAITING = {**STUCK, "node": None}


def row(name: str, seen: dict[str, Any] | None = None, **cells: Any) -> list[Any]:
    """A row in which rank pods that hold anything go with the training as they go with the job."""
    found: list[Any] = decision_table.row(name, seen, **{"evaluating": cells.get("ended", ""), **cells})
    return found


def both(**fields: Any) -> dict[str, Any]:
    """Both rank pods like this; `age`: of that many attempts ago."""
    age = fields.pop("age", 0)
    return {"pods": (make_worker(0, -age, **fields), make_worker(1, -age, **fields))}


def with_sidecar(index: int, code: int) -> PodView:
    """A rank pod whose main container has ended while its sidecar runs, as its kubelet tells it."""
    pod = build_worker_pod(make_job(workers={"replicas": 2}), index, 0, SETTINGS)
    pod["spec"]["nodeName"] = f"node-{index}"
    pod["metadata"] |= {"uid": f"worker-{index}", "creationTimestamp": timestamp(ago(500))}
    message = LAST_REPORT if code == 0 else ""
    reason = "Completed" if code == 0 else "Error"
    end = {"message": message, "exitCode": code, "reason": reason, "finishedAt": timestamp(ago(60))}
    statuses = [
        {"name": "istio-proxy", "state": {"running": {"startedAt": timestamp(ago(400))}}},
        {"name": "trainer", "state": {"terminated": end}},
    ]
    return view_pod({**pod, "status": {"phase": "Running", "containerStatuses": statuses}})


PRESENCE = [
    *row("all is well", waiting=CREATE),
    *row(
        "one pod missing",
        {"pods": (make_worker(0),)},
        waiting="!Ready=Creating apply:service,config create:1",
        suspended="+resume delete:0",
        gang=f"{LOST}@1 hurry:0",
        training=f"{LOST_AT_WORK}@1 apply:service,config create:1 annotate:0",
        ended="delete:0",
    ),
    *row(
        "one pod cannot be created for long",
        {
            "pods": (make_worker(0, created=ago(4000)),),
            "failures": (refused_action("Pod quick-worker-1: exceeded quota"),),
        },
        waiting="Queued +next !Ready=PartlyHeld delete:0",
        none="!Ready=Refused apply:service,config create:1",
        suspended="+resume delete:0",
        gang=f"{LOST}@1 hurry:0",
        training=f"{LOST_AT_WORK}@1 apply:service,config create:1 annotate:0",
        ended="delete:0",
    ),
    *row(
        "one pod missing, and what it needs",
        {"pods": (make_worker(0),), "prerequisites": make_prerequisites(faces=None)},
        waiting="!Ready=Creating apply:service,config create:1",
        suspended="+resume delete:0",
        gang=f"{LOST}@1 hurry:0",
        training=f"{LOST_AT_WORK}@1 apply:service,config create:1 annotate:0",
        ended="delete:0",
    ),
    *row(
        "pods of an attempt before, pods of the last are kept",
        {"pods": (make_worker(0, -1), make_worker(1))},
        spec={"runPolicy": {"cleanPodPolicy": "None"}},
        evaluating="",
        waiting="delete:0",
        suspended="+resume delete:0,1",
        gang=f"{LOST}@0 delete:0 hurry:1",
        training=f"{LOST_AT_WORK}@0 delete:0 annotate:1",
        ended="delete:0",
    ),
    *row(
        "pod should have left a lost node, pods of the last are kept",
        {"pods": (make_worker(0, leaves_at=ago(31)), make_ended(1)), "lost_nodes": frozenset({"node-0"})},
        spec={"runPolicy": {"cleanPodPolicy": "None"}},
        evaluating="",
        waiting=FILLED["waiting"],
        suspended="+resume delete:1 force:0",
        gang="Restarting +free failure:PodDeleted@0 delete:1 force:0",
        ended="force:0",
    ),
    *row("all pods have nodes and wait", both(**STUCK), **FILLED, ended="delete:0,1"),
    *row(
        "no pod has a node",
        both(**WAITING),
        waiting="Queued !Ready=Queued",
        suspended="+resume delete:0,1",
        starting="Queued !Ready=Queued",
        ended="delete:0,1",
    ),
    *row(
        "pods of an attempt before", both(age=1), waiting="delete:0,1", gang=f"{LOST}@0 delete:0,1", ended="delete:0,1"
    ),
    *row("labels changed by hand", both(age=9), waiting="delete:0,1", gang=f"{LOST}@0 delete:0,1", ended="delete:0,1"),
    *row(
        "pods leave",
        both(leaves_at=ago(-100)),
        **FILLED | {"suspended": "+resume"},
        gang="Restarting +free !Training=PodDeleted failure:PodDeleted@0",
    ),
    *row("old pods leave", both(age=1, leaves_at=ago(-100), grace_seconds=120), gang=f"{LOST}@0"),
    *row("old pods should have left a healthy node", both(age=1, leaves_at=ago(3600)), gang=f"{LOST}@0"),
    *row(
        "old pod should have left a lost node",
        {**both(age=1, leaves_at=ago(30)), "lost_nodes": frozenset({"node-1"})},
        waiting="force:1",
        gang=f"{LOST}@0 force:1",
        ended="force:1",
    ),
    *row(
        "old pod on a lost node has time left",
        {**both(age=1, leaves_at=ago(29)), "lost_nodes": frozenset({"node-1"})},
        gang=f"{LOST}@0",
    ),
    *row(
        "pod should have left a lost node",
        {"pods": (make_worker(0, leaves_at=ago(31)), make_worker(1)), "lost_nodes": frozenset({"node-0"})},
        **FILLED | {"suspended": "+resume delete:1 force:0"},
        gang="Restarting +free !Training=PodDeleted failure:PodDeleted@0 delete:1 force:0",
        training="Restarting *free !Training=PodDeleted failure:PodDeleted@0 force:0 annotate:1",
        ended="delete:1 force:0",
    ),
]

ENDS = [
    *row("all ranks are done", {"pods": (make_ended(0), make_ended(1))}, **FILLED, gang=EVALUATE),
    *row("one rank is done", {"pods": (make_ended(0), make_worker(1))}, **FILLED, ended="delete:1"),
    *row(
        "sidecars outlive the ranks",
        {"pods": (with_sidecar(0, 0), with_sidecar(1, 0))},
        **FILLED,
        gang=EVALUATE,
        ended="delete:0,1",
    ),
    *row(
        "a sidecar outlives a failed rank",
        {"pods": (make_worker(0), with_sidecar(1, 1))},
        **FILLED,
        gang="Restarting +counted !Training=Error failure:Error@1 hurry:0,1",
        training="Restarting *counted !Training=Error failure:Error@1 hurry:1 annotate:0",
        ended="delete:0,1",
    ),
]


def held(kind: Any, since: float, status: Any = "True") -> Condition:
    return Condition(type=kind, status=status, reason="Test", message="", last_transition_time=ago(since))


START = [
    *row("rank 0 reports progress", {"report": make_report(8)}, waiting=CREATE, starting="Training Training=Training"),
    *row(
        "no new step for long",
        {"report": make_report(7)},
        status={"progress": make_report(7, updated_at=ago(1800), slowest_rank=1).progress},
        waiting=CREATE,
        starting="Training Training=Training",
        training="Restarting +counted !Training=Stalled failure:Stalled@1 delete:0,1",
    ),
    *row(
        "no new step for a while",
        {"report": make_report(7)},
        status={"progress": make_report(7, updated_at=ago(1799)).progress},
        waiting=CREATE,
        starting="Training Training=Training",
    ),
    *row(
        "nothing is heard for long",
        status={"progress": make_report(7, updated_at=ago(90_000)).progress},
        waiting=CREATE,
    ),
]


def fault(name: str, gang: str, code: int | None, spec: Any = None, **fields: Any) -> list[Any]:
    """A row in which rank pod 1 has failed and rank pod 0 runs: it matters only to a whole gang.

    Of a gang at work the pod is made anew alone, and leaves soon: its peers wait for its place.
    """
    seen = {"pods": (make_worker(0), make_ended(1, code=code, **fields))}
    alone = gang.replace("+", "*").replace("delete", "hurry").replace(":0,1", ":1 annotate:0")
    return row(name, seen, spec=spec, **FILLED, gang=gang, training=alone, ended="delete:0")


def again(count: str, reason: str, failure: str | None = None) -> str:
    """The gang starts anew."""
    return f"Restarting {count} !Training={reason} failure:{failure or reason}@1 hurry:0,1"


def saved(reason: str) -> str:
    """The gang starts anew after all of it was stopped."""
    return again("+free", reason).replace("hurry", "delete")


def failed(reason: str, failure: str | None = None) -> str:
    """The job has failed."""
    return f"Failed Failed={reason} !Complete={reason} failure:{failure or reason}@1"


def told(code: int, reason: str = "RankDied") -> str:
    """What a launcher leaves of its rank."""
    return TrainerReport(failure=ReportedFailure(reason=reason, message="why", rank=1, exit_code=code)).to_json()


def found_still(rank: int, *, is_in_step: bool) -> PodView:
    """A pod whose launcher has found its rank standing still after step 7, as all do within a second."""
    still = Standstill(is_held=False, step=7, is_in_step=is_in_step)
    why = ReportedFailure(reason="Stalled", message="why", rank=rank, exit_code=1, standstill=still)
    return make_ended(rank, code=1, at=ago(1), message=TrainerReport(failure=why).to_json())


NO_MORE = {"runPolicy": {"backoffLimit": 1}}
ALREADY_MORE = {"runPolicy": {"backoffLimit": 0}}
OUT_OF_DEVICES = again("+free", "OutOfhuaweicomAscend910", "OutOfhuawei.com/Ascend910")
FAULTS = [
    *row(
        "exit 1 after a peer is gone",
        {"pods": (make_ended(1, code=1),)},
        waiting="!Ready=Creating apply:service,config create:0",
        suspended="+resume delete:1",
        gang=f"{LOST}@0 hurry:1",
    ),
    *row(
        "exit 3 and a peer is gone",
        {"pods": (make_ended(1, code=3),)},
        waiting="Failed Failed=Diverged failure:Diverged@1",
        none="!Ready=Creating apply:service,config create:0",
        suspended="+resume delete:1",
        gang="Failed Failed=Diverged failure:Diverged@1",
    ),
    *fault("exit 1", again("+counted", "Error"), 1),
    *fault("exit 1 a moment ago", "", 1, at=ago(1)),
    *fault("exit 137 a moment ago, no report", "", 137, at=ago(1)),
    *fault("exit 2 a moment ago", failed("InvalidInput"), 2, at=ago(1)),
    *fault("a rank was killed a moment ago", again("+counted", "RankDied"), 137, at=ago(1), message=told(137)),
    *fault("a rank was lost with its peers a moment ago", "", 143, at=ago(1), message=told(143)),
    *fault("a rank says why, a moment ago", again("+counted", "Error"), 1, at=ago(1), message=told(1, "Error")),
    *fault("a rank makes no progress, a moment ago", "", 1, at=ago(1), message=told(1, "Stalled")),
    *row(
        "a rank waits for images and its peer, in a step, for it",
        {"pods": (found_still(0, is_in_step=True), found_still(1, is_in_step=False))},
        **FILLED,
        gang=again("+counted", "Stalled"),
        ended="",
    ),
    *fault("out of memory a moment ago", again("+counted", "OOMKilled"), 137, at=ago(1), reason="OOMKilled"),
    *fault("disrupted a moment ago", again("+free", "Disrupted"), 137, at=ago(1), is_disrupted=True),
    *fault("exit 3", failed("Diverged"), 3),
    *fault("exit 143", saved("Disrupted"), 143),
    *fault("exit 137", again("+counted", "Error"), 137),
    *fault("out of memory", again("+counted", "OOMKilled"), 137, reason="OOMKilled"),
    *fault("disrupted", again("+free", "Disrupted"), 137, is_disrupted=True),
    *fault("evicted", again("+free", "Evicted"), None, reason="Evicted", at=None),
    *fault("refused by its kubelet", OUT_OF_DEVICES, None, reason="OutOfhuawei.com/Ascend910", at=None),
    *fault("exit 1, no restart left", failed("BackoffLimitExceeded", "Error"), 1, NO_MORE),
    *fault("exit 143, no restart left", saved("Disrupted"), 143, NO_MORE),
    *fault("exit 143, the limit was lowered", saved("Disrupted"), 143, ALREADY_MORE),
]


@pytest.mark.parametrize(("phase", "seen", "spec", "status", "cell"), [*PRESENCE, *ENDS, *START, *FAULTS])
def test_cell(phase: Any, seen: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], cell: str) -> None:
    before = status_in(phase, **status)
    fields = {"workers": {"replicas": 2}, "evaluation": {"claimName": "sets", "sets": ["lfw"]}, **spec}
    job = make_job(**fields).model_copy(update={"status": before})
    assert_cell(decide(observation_in(phase, job, seen), SETTINGS, NOW), cell, before)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param("", "leaves no report", id="nothing"),
        pytest.param("hello\n", "leaves no report", id="another program's words"),
        pytest.param('{"skippedImages":0}', "leaves no report", id="no progress"),
        pytest.param(make_report(7).to_json(), "tells of step 7 of 100", id="on the way"),
    ],
)
def test_an_exit_code_alone_is_no_success(message: str, told: str) -> None:
    seen = {"pods": (make_ended(0, message=message), make_ended(1, message=""))}
    status = plan_in("Training", seen).status
    assert (status.phase, status.counted_restarts, status.failure.reason) == ("Restarting", 2, "NoReport")
    assert status.failure.message.startswith(f"pod quick-worker-0: ended well but {told}; is spec.image ")
    assert status.training_completion_time is None


LEAVING = {"leaves_at": ago(-99), "grace_seconds": 120}


@pytest.mark.parametrize(
    ("pods", "rung", "words"),
    [
        pytest.param((make_worker(0, -1), make_ended(1, -1, code=1)), None, ["hurry:0", "hurry:1"], id="failed"),
        pytest.param((make_worker(0, -1), make_ended(1, -1, code=None)), None, ["hurry:0", "hurry:1"], id="lost"),
        pytest.param((make_worker(0, -1), make_ended(1, -1, code=143)), None, ["delete:0", "delete:1"], id="stopped"),
        pytest.param((make_worker(0, -1), make_worker(1, -1)), "WholeGang", ["delete:0", "delete:1"], id="runs"),
        pytest.param((make_worker(0, -1),), "WholeGang", ["hurry:0"], id="gone"),
        pytest.param((make_worker(0, -1, **LEAVING),), "WholeGang", ["hurry:0"], id="gone, its peer has long to leave"),
        pytest.param(
            (make_worker(0, -1, **LEAVING | {"grace_seconds": 10}),), "WholeGang", [], id="gone, its peer ends"
        ),
        pytest.param((make_worker(0, -1),), "Elastic", ["delete:0"], id="gone before the gang grows"),
    ],
)
def test_ranks_that_wait_for_a_dead_peer_get_few_seconds_to_end_in(pods: Any, rung: Any, words: list[str]) -> None:
    known = [] if rung is None else [Recovery(rung=rung, cause="PodLost", since=ago(5))]
    failure = FailureStatus(reason="PodLost", message="pod quick-worker-1 is gone", pod="quick-worker-1")
    plan = plan_in("Restarting", {"pods": pods}, {"recoveries": known, "failure": failure})
    assert [action_word(action) for action in plan.actions if isinstance(action, Delete)] == words


def test_the_rank_that_diverged_is_named_with_its_own_pod_whichever_pod_tells_of_it_first() -> None:
    failure = ReportedFailure(reason="Diverged", message="the loss is no number", rank=0, exit_code=3)
    peer = make_ended(1, code=3, message=TrainerReport(failure=failure).to_json())
    told = plan_in("Training", {"pods": (make_worker(0), peer)}).status.failure
    assert (told.reason, told.rank, told.pod, told.node) == ("Diverged", 0, "quick-worker-0", "node-0")


def test_the_peers_of_a_failed_pod_get_a_moment_to_tell_the_cause() -> None:
    plan = plan_in("Training", {"pods": (make_worker(0), make_ended(1, code=1, at=ago(0.5)))})
    assert plan.look_again_seconds == 1.5
    peer_tells = plan_in("Training", {"pods": (make_ended(0, code=3, at=ago(0)), make_ended(1, code=1, at=ago(0.5)))})
    assert peer_tells.status.failure.reason == "Diverged"


def test_the_moment_begins_with_the_failure_and_not_with_a_peer_that_is_done() -> None:
    plan = plan_in(
        "Training",
        {"pods": (make_ended(0, at=ago(60)), make_ended(1, code=1, at=ago(0.5)), make_worker(2))},
        workers={"replicas": 3},
    )
    assert plan.look_again_seconds == 1.5


OUT_OF_MEMORY = make_ended(1, code=137, reason="OOMKilled", at=ago(1))
EVICTED = make_ended(1, code=None, reason="Evicted", at=None)


@pytest.mark.parametrize(
    ("culprit", "peer", "reason"),
    [
        pytest.param(OUT_OF_MEMORY, make_ended(0, code=1, at=ago(2)), "OOMKilled", id="a peer is seen to end first"),
        pytest.param(OUT_OF_MEMORY, make_ended(0, code=143, message=told(143)), "OOMKilled", id="MindSpore ends it"),
        pytest.param(
            make_ended(1, code=1, message=told(1), at=ago(1)),
            make_ended(0, code=143, message=told(143), at=ago(2)),
            "RankDied",
            id="nobody says why",
        ),
        pytest.param(EVICTED, make_ended(0, code=137, message=told(137)), "Evicted", id="a pod is taken away"),
    ],
)
def test_what_may_be_a_consequence_explains_nothing_that_is_none(culprit: PodView, peer: PodView, reason: str) -> None:
    failure = plan_in("Training", {"pods": (peer, culprit)}).status.failure
    assert (failure.reason, failure.pod) == (reason, "quick-worker-1")


def test_nobody_is_waited_for_when_all_have_ended() -> None:
    plan = plan_in("Training", {"pods": (make_ended(0, code=1, at=ago(1)), make_ended(1, code=1, at=ago(0)))})
    assert plan.status.phase == "Restarting"


def test_a_restart_takes_the_rank_table_back() -> None:
    table = RankTableStatus(state="completed", ready=4, total=4)
    pods = (make_ended(0, code=1), make_ended(1, code=1))
    plan = plan_in("Training", {"pods": pods}, {"rank_table": table}, workers=ASCEND, training={"precision": "fp32"})
    assert plan.status.rank_table is None
    assert ("RankTableReady", "False") in [(item.type, item.status) for item in plan.status.conditions]
    assert [action_word(action) for action in plan.actions[:3]] == ["apply:no-table", "hurry:0", "hurry:1"]


def test_a_node_whose_clock_is_ahead_does_not_hold_the_gang_up() -> None:
    plan = plan_in("Training", {"pods": (make_worker(0), make_ended(1, code=1, at=ago(-3600)))})
    assert plan.status.phase == "Restarting"


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        pytest.param(
            both(**STUCK, waiting="ImagePullBackOff: no such image"),
            "pod quick-worker-0: ImagePullBackOff: no such image",
            id="waiting reason",
        ),
        pytest.param(
            {**both(), "report": TrainerReport()}, "pod quick-worker-0: rank 0 reports no progress", id="no progress"
        ),
    ],
)
def test_a_late_start_says_what_it_waited_for(seen: dict[str, Any], why: str) -> None:
    message = plan_in("Starting", seen, {"conditions": [held("Ready", since=1800)]}).status.failure.message
    assert message == f"training has not begun after startupDeadlineSeconds 1800: {why}"


def test_an_image_is_waited_for_until_the_time_to_start_in_is_over() -> None:
    def plan(since: float) -> Any:
        pods = both(**STUCK, waiting="ImagePullBackOff: no such image")
        return plan_in("Starting", pods, {"conditions": [held("Ready", since)]})

    assert plan(1799).status.phase == "Starting"
    late = plan(1800)
    assert (late.status.phase, late.status.counted_restarts) == ("Restarting", 2)
    assert [word for action in late.actions if (word := action_word(action))] == ["delete:0", "delete:1"]


def test_the_time_to_start_in_begins_when_all_have_room() -> None:
    gang = both(**STUCK, created=ago(90_000), scheduled_at=ago(90_000))
    waited = {"conditions": [held("Ready", since=90_000, status="False")]}
    admitted = plan_in("Queued", gang, waited)
    assert admitted.status.phase == "Starting"
    assert plan_in("Starting", gang, {"conditions": admitted.status.conditions}).status.phase == "Starting"


def test_a_job_that_nobody_asked_for_a_while_is_not_said_to_have_stalled() -> None:
    old = {"progress": make_report(7, updated_at=ago(90_000)).progress}
    conditions = {"conditions": [held("Training", since=90_000)]}
    heard = {"report": make_report(7), "watched_since": ago(10)}
    assert plan_in("Training", heard, {**old, **conditions}).status.phase == "Training"
    long = plan_in("Training", {**heard, "watched_since": ago(80_000)}, {**old, **conditions}).status
    assert (long.phase, long.failure.reason) == ("Restarting", "Stalled")


def test_ranks_that_run_and_were_never_asked_are_not_said_to_be_late() -> None:
    back = {"pods": both(created=ago(90_000))["pods"], "watched_since": ago(10), "report": TrainerReport()}
    conditions = {"conditions": [held("Ready", since=90_000)]}
    assert plan_in("Starting", back, conditions).status.phase == "Starting"
    asked = {**back, "watched_since": ago(1800)}
    assert plan_in("Starting", asked, conditions).status.failure.reason == "StartupDeadlineExceeded"
    stuck = {"pods": both(**STUCK, created=ago(90_000))["pods"], "watched_since": ago(10)}
    assert plan_in("Starting", stuck, conditions).status.failure.reason == "StartupDeadlineExceeded"


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param((make_worker(0), make_worker(1, is_ready=False)), id="no new step"),
        pytest.param((make_ended(0, code=1), make_worker(1, is_ready=False)), id="a peer gives up"),
    ],
)
def test_a_lost_node_is_not_the_trainings_fault(pods: tuple[PodView, ...]) -> None:
    heard = {"pods": pods, "report": make_report(7)}
    old = {"progress": make_report(7, updated_at=ago(90_000)).progress, "conditions": [held("Training", since=90_000)]}
    counted = plan_in("Training", heard, old).status
    assert counted.counted_restarts == 2
    free = plan_in("Training", {**heard, "lost_nodes": frozenset({"node-1"})}, old).status
    assert (free.counted_restarts, free.restarts, free.failure.reason, free.failure.rank) == (1, 3, "NodeLost", 1)
    assert free.failure.message == "node node-1 of pod quick-worker-1 is gone or does not answer"


def test_a_fault_that_no_retry_cures_is_final_on_a_lost_node_too() -> None:
    pods = (make_ended(0, code=3), make_worker(1, is_ready=False))
    assert plan_in("Training", {"pods": pods, "lost_nodes": frozenset({"node-1"})}).status.phase == "Failed"


def test_a_pod_that_does_not_leave_is_named() -> None:
    stays = make_worker(0, -1, leaves_at=ago(7200))
    plan = plan_in("Restarting", {"pods": (stays,)})
    (ready,) = [item for item in plan.status.conditions if item.type == "Ready"]
    assert (ready.status, ready.reason) == ("False", "PodsLeaving")
    assert ready.message.startswith("pod quick-worker-0 on node node-0 should have left by 2026-11-25T10:00:00")
    assert plan.look_again_seconds == SETTINGS.check_seconds


KEPT = {"phase": "Failed", "leaves_at": ago(5), "finalizers": ("example.com/audit",)}


def test_a_pod_that_only_a_finalizer_keeps_is_named_with_it_and_no_node_is_blamed() -> None:
    for lost in (frozenset(), frozenset({"node-0"})):
        plan = plan_in("Restarting", {"pods": (make_ended(0, -1, code=143, **KEPT),), "lost_nodes": lost})
        (ready,) = [item for item in plan.status.conditions if item.type == "Ready"]
        assert (ready.reason, "node" in ready.message) == ("PodsLeaving", False)
        assert "pod quick-worker-0 has left, finalizer example.com/audit keeps it" in ready.message


def test_a_suspended_job_names_the_finalizer_that_keeps_its_pod() -> None:
    plan = plan_in("Suspended", {"pods": (make_ended(0, code=143, **KEPT),)}, suspend=True)
    (suspended,) = [item for item in plan.status.conditions if item.type == "Suspended"]
    assert suspended.status == "True"
    assert "finalizer example.com/audit keeps it" in suspended.message


def test_a_pod_that_still_runs_is_not_said_to_be_kept_by_its_finalizer() -> None:
    stays = make_worker(0, -1, leaves_at=ago(7200), finalizers=("example.com/audit",))
    (ready,) = [item for item in plan_in("Restarting", {"pods": (stays,)}).status.conditions if item.type == "Ready"]
    assert "look at its node" in ready.message


def test_an_attempt_after_a_vain_one_waits_each_time_longer_and_says_so() -> None:
    def plan(vain: int, seconds: float) -> Any:
        return plan_in("Restarting", {}, {"vain_attempts": vain, "restarted_at": ago(seconds)})

    assert [action_word(action) for action in plan(2, 3).actions] == []
    (ready,) = [item for item in plan(2, 3).status.conditions if item.type == "Ready"]
    assert (ready.status, ready.reason) == ("False", "BackOff")
    assert 7.0 <= plan(2, 3).look_again_seconds <= 17.0  # 5 s doubled once and a share of that, of which 3 s are over
    assert 57.0 <= plan(1000, 3).look_again_seconds <= 117.0
    assert "create:0" in [action_word(action) for action in plan(2, 20).actions]
    assert "create:0" in [action_word(action) for action in plan(0, 0).actions]


def test_an_attempt_after_one_that_trained_begins_at_once() -> None:
    restarting = plan_in("Training", {"pods": (make_worker(0),)}).status
    job = make_job(workers={"replicas": 2}).model_copy(update={"status": restarting})
    gone = decide(Observation(job=job, prerequisites=make_prerequisites()), SETTINGS, NOW)
    assert "create:0" in [action_word(action) for action in gone.actions]


def test_a_restart_with_no_pod_left_looks_at_the_prerequisites_at_once() -> None:
    plan = plan_in("Training", {"pods": ()})
    assert plan.status.phase == "Restarting"
    assert plan.look_again_seconds == 0.0
