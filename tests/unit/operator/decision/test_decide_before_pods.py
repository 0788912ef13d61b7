"""What a job waits for before anything is taken, what it cannot be run with, and what its user wishes meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.reports import ReportedFailure
from arcface_api.resource.status import CheckpointStatus
from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.observation import ClaimView, Ended, PodView
from arcface_operator.decision.plan import Create, Delete
from support.builders.jobs import make_job
from support.builders.views import (
    ASCEND,
    NOW,
    SETTINGS,
    ago,
    make_ended,
    make_evaluator,
    make_prerequisites,
    make_report,
    make_worker,
    refused_action,
    timestamp,
)
from support.decision_table import action_word, assert_cell, observation_in, row, status_in

CREATE = "!Ready=Creating apply:service,config create:0,1"
STOPPED = ReportedFailure(reason="Stopped", message="stopped on request after step 9", exit_code=143)
EVALUATION = {"claimName": "sets", "sets": ["lfw"]}
ON_ASCEND = {"workers": ASCEND, "training": {"precision": "fp32"}}
ROX, RWO = ("ReadOnlyMany",), ("ReadWriteOnce",)
ONE_POD, ONE_NODE = ClaimView("Bound", ("ReadWriteOncePod",)), ClaimView("Bound", RWO)


def around(**fields: Any) -> dict[str, Any]:
    """Other prerequisites than those that have everything."""
    return {"prerequisites": make_prerequisites(**fields)}


WAITING_FOR = [
    *row(
        "nothing there",
        {"pods": (), "evaluator": None},
        waiting=CREATE,
        gang="Restarting +free !Training=PodLost failure:PodLost@0",
        evaluating="Restarting +free !Evaluated=PodLost failure:PodLost",
    ),
    *row("claim missing", around(faces=None), waiting="!Ready=ClaimMissing"),
    *row("claim unbound", around(faces=ClaimView("Pending", ROX)), waiting="!Ready=ClaimNotBound"),
    *row("claim lost", around(checkpoints=ClaimView("Lost", RWO)), waiting="!Ready=ClaimNotBound"),
    *row("claim waits for its first pod", around(faces=ClaimView("Pending", RWO, True)), waiting=CREATE),
    *row("claim is for one pod", around(faces=ONE_POD), waiting="!Ready=ClaimAccess"),
    *row("checkpoints cannot be written", around(checkpoints=ClaimView("Bound", ROX)), waiting="!Ready=ClaimAccess"),
    *row("claim for one pod is the evaluator's", around(sets=ONE_POD), waiting=CREATE),
    *row("claim is for one node", around(faces=ONE_NODE, devices=(2,)), spec=ON_ASCEND, waiting="!Ready=ClaimAccess"),
    *row("no node with devices", around(devices=()), spec=ON_ASCEND, waiting="!Ready=DevicesMissing"),
    *row("no node with enough devices", around(devices=(1, 1)), spec=ON_ASCEND, waiting="!Ready=DevicesMissing"),
    *row(
        "nodes are not ours to see",
        around(devices=None),
        spec=ON_ASCEND,
        waiting="!Ready=Creating apply:service,config,no-table create:0,1",
    ),
    *row(
        "gang kind missing",
        around(missing_kinds=("PodGroup",)),
        spec={"scheduling": {"gang": "volcano"}},
        waiting="!Ready=GangSchedulerMissing",
    ),
    *row(
        "gang kind there",
        spec={"scheduling": {"gang": "volcano"}},
        waiting="!Ready=Creating apply:service,config,podgroup create:0,1",
    ),
    *row(
        "pods refused",
        {"failures": (refused_action("Pod quick-worker-0: exceeded quota"),)},
        waiting="!Ready=Refused apply:service,config create:0,1",
    ),
]

INVALID = "Failed Failed=InvalidSpec !Complete=InvalidSpec"
AT_FIRST = {"none": INVALID, "suspended": INVALID, "pending": INVALID}
CANNOT_RUN = [
    # Only these phases can have it: the field cannot change once there are pods.
    *row("worker template", spec={"workers": {"replicas": 2, "template": {"env": []}}}, **AT_FIRST)[:3],
    # The evaluation can change at any time, and can be mended while the ranks train.
    *row(
        "evaluator's template",
        spec={"evaluation": {**EVALUATION, "template": {"containers": []}}},
        restarting=CREATE,
        queued=CREATE,
        **AT_FIRST,
    ),
]

OVER = "Failed Failed=DeadlineExceeded !Complete=DeadlineExceeded"
PAUSED = "Suspended !Ready=Suspended !Training=Suspended Suspended=Suspended"
PAUSING = "!Ready=Suspended !Suspended=Suspending"
UNTOLD, UNTELLING = f"{PAUSED} !RankTableReady=Suspended", f"{PAUSING} !RankTableReady=Suspended"
DONE = "Pending +next !Training=Trained !Evaluated=Pending"
ON_LOST_NODE = {"pods": (make_worker(0, leaves_at=ago(31)),), "lost_nodes": frozenset({"node-0"})}
WISHES = [
    *row(
        "suspend",
        spec={"suspend": True},
        waiting=PAUSED,
        suspended=PAUSED,
        gang=f"{PAUSING} delete:0,1",
        evaluating=f"{PAUSING} delete:0,1,evaluator",
    ),
    *row(
        "suspend, with a rank table",
        spec={"suspend": True, **ON_ASCEND},
        waiting=UNTOLD,
        suspended=UNTOLD,
        gang=f"{UNTELLING} apply:no-table delete:0,1",
        evaluating=f"{UNTELLING} apply:no-table delete:0,1,evaluator",
    ),
    *row(
        "suspend, the pods have left their nodes",
        {"pods": (make_ended(0, code=143), make_ended(1, code=143)), "evaluator": None},
        spec={"suspend": True},
        waiting=f"{PAUSED} delete:0,1",
        suspended=f"{PAUSED} delete:0,1",
        gang=f"{PAUSED} delete:0,1",
        evaluating="Suspended !Evaluated=Suspended Suspended=Suspended delete:0,1",
        ended="",
    ),
    *row(
        "suspend, all ranks are done",
        {"pods": (make_ended(0), make_ended(1)), "evaluator": None},
        spec={"suspend": True, "evaluation": None},
        waiting="Succeeded Complete=Succeeded !Training=Trained",
        none=f"{PAUSED} delete:0,1",
        suspended=f"{PAUSED} delete:0,1",
        gang="Succeeded Complete=Succeeded !Training=Trained",
        evaluating="Suspended !Evaluated=Suspended Suspended=Suspended delete:0,1",
        ended="",
    ),
    *row(
        "suspend, all ranks are done, to be evaluated",
        {"pods": (make_ended(0), make_ended(1)), "evaluator": None},
        spec={"suspend": True},
        waiting=DONE,
        none=f"{PAUSED} delete:0,1",
        suspended=f"{PAUSED} delete:0,1",
        gang=DONE,
        evaluating="Suspended !Evaluated=Suspended Suspended=Suspended delete:0,1",
        ended="",
    ),
    *row(
        "suspend, all ranks have ended well but short of the last step",
        {"pods": (make_ended(0, message=make_report(7).to_json()), make_ended(1)), "evaluator": None},
        spec={"suspend": True},
        waiting=f"{PAUSED} delete:0,1",
        suspended=f"{PAUSED} delete:0,1",
        gang=f"{PAUSED} delete:0,1",
        evaluating="Suspended !Evaluated=Suspended Suspended=Suspended delete:0,1",
        ended="",
    ),
    *row(
        "suspend, a pod on a lost node",
        ON_LOST_NODE,
        spec={"suspend": True},
        waiting=f"{PAUSING} force:0",
        none=f"{PAUSED} force:0",
        suspended=f"{PAUSED} force:0",
        gang=f"{PAUSING} force:0",
        evaluating=f"{PAUSING} delete:evaluator force:0",
        ended="force:0",
    ),
    *row(
        "active for too long",
        spec={"runPolicy": {"activeDeadlineSeconds": 1000}},
        status={"active_seconds": 1000},
        waiting=OVER,
        none=CREATE,
        suspended=f"{CREATE} +resume",
        gang=OVER,
        evaluating=OVER,
    ),
    *row(
        "active for too long, a rank has failed",
        {"pods": (make_worker(0), make_ended(1, code=1))},
        spec={"runPolicy": {"activeDeadlineSeconds": 1000}},
        status={"active_seconds": 1000},
        waiting=OVER,
        none="Starting",
        suspended="+resume delete:0,1",
        gang=OVER,
        evaluating=OVER,
        ended="delete:0",
    ),
    *row(
        "active for too long, a rank has diverged",
        {"pods": (make_worker(0), make_ended(1, code=3))},
        spec={"runPolicy": {"activeDeadlineSeconds": 1000}},
        status={"active_seconds": 1000},
        waiting=OVER,
        none="Starting",
        suspended="+resume delete:0,1",
        gang="Failed Failed=Diverged failure:Diverged@1",
        evaluating=OVER,
        ended="delete:0",
    ),
    *row(
        "active for too long, but done",
        {"pods": (make_ended(0), make_ended(1))},
        spec={"runPolicy": {"activeDeadlineSeconds": 1000}, "evaluation": None},
        status={"active_seconds": 1000},
        waiting=OVER,
        none="Starting",
        suspended="+resume delete:0,1",
        gang="Succeeded Complete=Succeeded",
        evaluating=OVER,
    ),
    *row("active for less", spec={"runPolicy": {"activeDeadlineSeconds": 1001}}, waiting=CREATE),
    *row("ended long ago", spec={"runPolicy": {"ttlSecondsAfterFinished": 100}}, waiting=CREATE, ended="delete:job"),
    *row("ended lately", spec={"runPolicy": {"ttlSecondsAfterFinished": 101}}, waiting=CREATE),
]

PODS_OF_ALL_KINDS = {
    "pods": (make_worker(0), make_ended(1, code=1)),
    "evaluator": make_evaluator(),
}
CLEANING = [
    param
    for policy, ended in {"None": "", "Running": "delete:0,evaluator", "All": "delete:0,1,evaluator"}.items()
    for param in row(
        f"clean {policy}",
        PODS_OF_ALL_KINDS,
        spec={"runPolicy": {"cleanPodPolicy": policy}},
        waiting="Starting",
        suspended="+resume delete:0,1",
        gang="Restarting +counted failure:Error@1 hurry:0,1",
        training="Restarting *counted failure:Error@1 hurry:1 annotate:0",
        evaluating="" if policy == "None" else "delete:0",
        ended=ended,
    )
]


@pytest.mark.parametrize(("phase", "seen", "spec", "status", "cell"), [*WAITING_FOR, *CANNOT_RUN, *WISHES, *CLEANING])
def test_cell(phase: Any, seen: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], cell: str) -> None:
    before = status_in(phase, **status)
    fields = {"workers": {"replicas": 2}, "evaluation": EVALUATION, **spec}
    job = make_job(**fields).model_copy(update={"status": before})
    assert_cell(decide(observation_in(phase, job, seen), SETTINGS, NOW), cell, before)


@pytest.mark.parametrize("phase", [None, "Suspended", "Pending", "Starting", "Training", "Evaluating", "Failed"])
def test_nothing_is_done_about_a_job_that_is_being_deleted(phase: Any) -> None:
    job = make_job(workers={"replicas": 2}).model_copy(update={"status": status_in(phase)})
    metadata = job.metadata.model_copy(update={"deletion_timestamp": timestamp(NOW)})
    leaving = job.model_copy(update={"metadata": metadata})
    observed = observation_in(phase, leaving, {"pods": (), "evaluator": None})
    plan = decide(observed, SETTINGS, NOW)
    assert plan.status == observed.job.status
    assert plan.actions == ()
    assert plan.look_again_seconds is None


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        pytest.param(around(faces=None), "spec.data.claimName: there is no PersistentVolumeClaim 'faces'", id="claim"),
        pytest.param(
            around(faces=None, sets=None),
            "spec.data.claimName: there is no PersistentVolumeClaim 'faces'; create it; spec.evaluation.claimName: ",
            id="everything is action_word at once",
        ),
    ],
)
def test_ready_says_what_is_missing_and_it_is_looked_for_again(seen: dict[str, Any], message: str) -> None:
    plan = decide(observation_in(None, make_job(evaluation=EVALUATION), seen), SETTINGS, NOW)
    (ready,) = [item for item in plan.status.conditions if item.type == "Ready"]
    assert ready.message.startswith(message)
    assert plan.look_again_seconds == SETTINGS.check_seconds


RANKS_DONE = (make_ended(0), make_ended(1))


@pytest.mark.parametrize(
    ("pod", "keeper"),
    [
        pytest.param({"leaves_at": ago(-60)}, "", id="has time left"),
        pytest.param(
            {"leaves_at": ago(5), "phase": "Failed", "finalizers": ("x.io/kept",)},
            ": pod quick-worker-1 has left, finalizer x.io/kept keeps it; whoever set that must take it away",
            id="finalizer",
        ),
        pytest.param(
            {"leaves_at": ago(31)},
            f": pod quick-worker-1 on node node-1 should have left by {ago(31).isoformat()}; look at its node",
            id="node",
        ),
    ],
)
def test_what_keeps_a_pod_of_an_earlier_job_is_named(pod: dict[str, Any], keeper: str) -> None:
    earlier = make_worker(1, owner="uid-0", **pod)
    plan = decide(observation_in("Pending", make_job(workers={"replicas": 2}), {"earlier": (earlier,)}), SETTINGS, NOW)
    ready = condition(plan.status, "Ready")
    assert ready.reason == "PodsLeaving"
    assert ready.message == f"pod quick-worker-1 of an earlier job of this name is to leave{keeper}"


@pytest.mark.parametrize(
    ("owner", "left_since", "is_lost", "is_forced"),
    [
        pytest.param("uid-0", 30, True, True, id="its node is lost"),
        pytest.param("uid-0", 29, True, False, id="its time is not over"),
        pytest.param("uid-0", 999, False, False, id="its node answers"),
        pytest.param("uid-0", None, True, False, id="nobody has asked it to leave"),
        pytest.param(None, 999, True, False, id="it is nobody's"),
    ],
)
@pytest.mark.parametrize("name", ["quick-worker-1", "quick-worker-7"])
def test_a_pod_of_an_earlier_job_on_a_lost_node_is_removed_by_force(
    name: str, owner: str | None, left_since: float | None, is_lost: bool, is_forced: bool
) -> None:
    leaves_at = None if left_since is None else ago(left_since)
    earlier = make_worker(1, name=name, owner=owner, leaves_at=leaves_at)
    lost = frozenset({"node-1"} if is_lost else ())
    observed = observation_in("Pending", make_job(workers={"replicas": 2}), {"earlier": (earlier,), "lost_nodes": lost})
    asked = left_since is not None and left_since >= SETTINGS.force_delete_seconds
    assert nodes_in_question(observed, SETTINGS, NOW) == ({"node-1"} if asked else set())
    removed = [action for action in decide(observed, SETTINGS, NOW).actions if isinstance(action, Delete)]
    expected = Delete(resource="pods", name=name, uid=earlier.uid, grace_seconds=0)
    assert removed == ([expected] if is_forced else [])


@pytest.mark.parametrize(
    ("pod", "is_asked"),
    [
        pytest.param({"created": ago(31)}, True, id="older than the job"),
        pytest.param({"created": ago(30)}, False, id="of the job's second"),
        pytest.param({"created": ago(1)}, False, id="of a later job, which the cache has not"),
        pytest.param({"created": ago(31), "leaves_at": ago(-5)}, False, id="it leaves"),
        pytest.param({"created": ago(31), "owner_job": "other"}, False, id="of a job of another name"),
        pytest.param({"created": ago(31), "owner": None, "owner_job": None}, False, id="nobody's: it was orphaned"),
    ],
)
def test_a_pod_that_an_earlier_job_has_left_behind_is_asked_to_leave(pod: dict[str, Any], is_asked: bool) -> None:
    job = make_job(workers={"replicas": 2})
    metadata = job.metadata.model_copy(update={"creation_timestamp": ago(30)})
    earlier = make_worker(1, **{"owner": "uid-0", "owner_job": "quick", **pod})
    observed = observation_in("Pending", job.model_copy(update={"metadata": metadata}), {"earlier": (earlier,)})
    plan = decide(observed, SETTINGS, NOW)
    removed = [action for action in plan.actions if isinstance(action, Delete)]
    assert removed == ([Delete(resource="pods", name="quick-worker-1", uid=earlier.uid)] if is_asked else [])
    assert any(isinstance(action, Create) for action in plan.actions) == (earlier.owner is None)


def with_status(job: Any, status: Any) -> Any:
    return job.model_copy(update={"status": status})


def stopping(phase: Any, *pods: PodView) -> Any:
    """The status of a job that was told to suspend while these pods leave."""
    job = make_job(workers={"replicas": 2}, suspend=True).model_copy(update={"status": status_in(phase)})
    return decide(observation_in(phase, job, {"pods": pods}), SETTINGS, ago(50)).status


RESTING = (make_ended(0, code=143), make_ended(1, code=143))
LEAVING = (make_worker(0, leaves_at=ago(-60)), make_worker(1, leaves_at=ago(-60)))


@pytest.mark.parametrize("pods", [pytest.param(RESTING, id="at rest"), pytest.param(LEAVING, id="pods still leave")])
@pytest.mark.parametrize("phase", ["Starting", "Training", "Restarting"])
def test_a_job_that_is_resumed_begins_anew_and_is_no_longer_said_to_be_suspended(phase: Any, pods: Any) -> None:
    resumed = make_job(workers={"replicas": 2}).model_copy(update={"status": stopping(phase, *pods)})
    status = decide(observation_in(resumed.status.phase, resumed, {"pods": pods}), SETTINGS, NOW).status
    assert (status.phase, status.attempt, status.restarts, status.start_time) == ("Pending", 3, 2, NOW)
    assert all("uspend" not in f"{item.reason} {item.message}" for item in status.conditions)
    assert condition(status, "Suspended").status == "False"


def test_a_job_is_suspended_once_its_pods_have_saved_and_left() -> None:
    checkpoint = CheckpointStatus(path="quick/step-9", step=9, saved_at=NOW, sha256="a" * 64)
    report = make_report(9).model_copy(update={"checkpoint": checkpoint, "failure": STOPPED})
    saved = make_worker(0, ended=Ended(143, "Error", report.to_json(), NOW), leaves_at=ago(-60))
    status = stopping("Training", saved, LEAVING[1])
    assert (status.phase, status.checkpoint, status.progress.step) == ("Training", checkpoint, 9)
    assert condition(status, "Suspended").message == "spec.suspend is true, 2 pods are still to leave"
    assert stopping("Training", *RESTING).phase == "Suspended"


@pytest.mark.parametrize("suspend", [True, False])
def test_ranks_that_come_to_the_end_in_their_grace_period_never_train_again(suspend: bool) -> None:
    pods = (make_ended(0, leaves_at=ago(-60)), make_ended(1, leaves_at=ago(-60)))
    job = make_job(workers={"replicas": 2}, suspend=suspend)
    job = job.model_copy(update={"status": stopping("Training", *LEAVING)})
    plan = decide(observation_in("Training", job, {"pods": pods}), SETTINGS, NOW)
    suspended = condition(plan.status, "Suspended")
    assert (plan.status.phase, plan.status.training_completion_time) == ("Succeeded", NOW)
    assert (suspended.status, suspended.reason) == ("False", "Done")


def test_a_job_that_is_done_with_its_training_is_suspended_at_the_next_look_and_evaluates_when_it_goes_on() -> None:
    job, seen = make_job(workers={"replicas": 2}, evaluation=EVALUATION, suspend=True), {"pods": RANKS_DONE}
    done = decide(observation_in("Training", with_status(job, status_in("Training")), seen), SETTINGS, NOW)
    assert done.look_again_seconds == 0
    resting = with_status(job, done.status)
    suspended = decide(replace(observation_in("Pending", resting, {}), pods=RANKS_DONE), SETTINGS, NOW).status
    assert (suspended.phase, suspended.training_completion_time) == ("Suspended", NOW)
    resumed = with_status(make_job(workers={"replicas": 2}, evaluation=EVALUATION), suspended)
    plan = decide(observation_in("Suspended", resumed, {}), SETTINGS, NOW)
    assert [word for action in plan.actions if (word := action_word(action))] == ["apply:config", "create:evaluator"]


def test_a_job_that_was_created_suspended_begins_with_the_first_attempt() -> None:
    job = make_job(suspend=True)
    suspended = decide(observation_in(None, job, {"pods": ()}), SETTINGS, ago(60)).status
    assert (suspended.phase, suspended.attempt, suspended.workers) == ("Suspended", 0, None)
    resumed = make_job().model_copy(update={"status": suspended})
    begun = decide(observation_in("Suspended", resumed, {"pods": ()}), SETTINGS, NOW).status
    assert (begun.phase, begun.attempt) == ("Pending", 0)


@pytest.mark.parametrize(
    ("phase", "policy", "groups", "dissolved"),
    [
        pytest.param("Suspended", "Running", {"quick"}, 1, id="suspended"),
        pytest.param("Suspended", "None", {"quick"}, 1, id="suspended, pods are kept at the end only"),
        pytest.param("Suspended", "Running", set(), 0, id="suspended, gone already"),
        pytest.param("Failed", "Running", {"quick"}, 1, id="failed"),
        pytest.param("Succeeded", "All", {"quick", "quick-evaluate"}, 2, id="succeeded"),
        pytest.param("Succeeded", "None", {"quick", "quick-evaluate"}, 0, id="everything is kept"),
    ],
)
def test_a_gang_without_pods_holds_no_group(phase: Any, policy: str, groups: set[str], dissolved: int) -> None:
    job = make_job(scheduling={"gang": "volcano"}, suspend=phase == "Suspended", runPolicy={"cleanPodPolicy": policy})
    job = job.model_copy(update={"status": status_in(phase)})
    plan = decide(observation_in(phase, job, {"pods": (), "groups": dict.fromkeys(groups, ())}), SETTINGS, NOW)
    assert [action_word(action) for action in plan.actions].count("delete:group") == dissolved


def test_what_was_reached_survives_a_suspension() -> None:
    status = stopping("Training", *RESTING)
    assert status.progress == status_in("Training").progress
    assert status.start_time is None
    assert status.rank_table is None


def test_the_end_counts_the_generation_it_has_seen() -> None:
    job = make_job(suspend=True).model_copy(update={"status": status_in("Succeeded")})
    newer = job.model_copy(update={"metadata": job.metadata.model_copy(update={"generation": 7})})
    observed = observation_in("Succeeded", newer, {})
    plan = decide(observed, SETTINGS, NOW)
    assert plan.status == observed.job.status.model_copy(update={"observed_generation": 7})


@pytest.mark.parametrize(
    ("run_policy", "seconds"),
    [
        pytest.param({}, None, id="nothing to wait for"),
        pytest.param({"ttlSecondsAfterFinished": 130}, 30.0, id="deletion"),
    ],
)
def test_the_end_is_looked_at_again_when_there_is_something_to_do(
    run_policy: dict[str, Any], seconds: float | None
) -> None:
    job = make_job(workers={"replicas": 2}, runPolicy=run_policy).model_copy(update={"status": status_in("Failed")})
    assert decide(observation_in("Failed", job, {}), SETTINGS, NOW).look_again_seconds == seconds


def test_the_deadline_is_kept_whatever_else_is_waited_for() -> None:
    job = make_job(workers={"replicas": 2}, runPolicy={"activeDeadlineSeconds": 1003})
    job = job.model_copy(update={"status": status_in("Training")})
    assert decide(observation_in("Training", job, {}), SETTINGS, NOW).look_again_seconds == 3.0
