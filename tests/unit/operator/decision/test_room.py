"""Waiting is not failing: gangs that are queued, half served, never to start, and the clocks of each."""

from typing import Any

import pytest

from arcface_api.resource.status import Condition, FailureStatus
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView, stuck_since
from arcface_operator.decision.plan import Plan
from support.builders.jobs import make_job
from support.builders.plans import plan_in
from support.builders.views import (
    NOW,
    SETTINGS,
    ago,
    evaluator_report,
    make_ended,
    make_report,
    make_worker,
    refused_action,
    worker_names,
)
from support.decision_table import action_word
from support.fakes import kueue
from support.fakes.cluster_world import World

HOUR = 3600
DAY = 24
GANGS = ["none", "native", "volcano", "coscheduling", "kueue"]
WAITS = {"phase": "Pending", "is_ready": False, "address": None, "node": None}
NO_ROOM = {**WAITS, "waiting": "Unschedulable: 0/3 nodes are available"}


def waiting_since(seconds: float) -> list[Condition]:
    return [Condition(type="Ready", status="False", reason="Queued", message="", last_transition_time=ago(seconds))]


def running_since(seconds: float) -> list[Condition]:
    return [
        Condition(type=kind, status="True", reason="Test", message="", last_transition_time=ago(seconds))
        for kind in ("Ready", "Training")
    ]


def ready_of(plan: Plan) -> tuple[str, str, str]:
    (found,) = [item for item in plan.status.conditions if item.type == "Ready"]
    return found.status, found.reason, found.message


def words(plan: Plan) -> list[str]:
    return [word for action in plan.actions if (word := action_word(action))]


def look(world: World, report: Any = None) -> World:
    return world.carried_out(decide(world.observe(report=report), SETTINGS, world.now))


def queued(world: World) -> World:
    """What the cluster says of a gang that it has no room for: Kueue of its Workload, others of its pods."""
    for name in world.pods:
        world = world.unschedulable(name)
    return kueue.looked_at(world, "quick") if world.workloads else world


def given_room(world: World) -> World:
    """All pods run."""
    if world.workloads:
        world = look(kueue.admitted(world, "quick"))
    for name in world.pods:
        world = world.started(name)
    return world


@pytest.mark.parametrize("gang", GANGS)
def test_a_gang_that_waits_for_a_day_trains_uncounted_and_in_its_full_time(gang: str) -> None:
    limits = {"backoffLimit": 0, "activeDeadlineSeconds": HOUR}
    job = make_job(workers={"replicas": 2}, scheduling={"gang": gang, "queue": "npu"}, runPolicy=limits, uid="1")
    world = queued(look(World(job=job)))
    for _ in range(DAY):
        world = look(world.later(HOUR))
        assert (world.status.phase, len(world.pods)) == ("Queued", 0 if gang == "kueue" else 2)
    world = look(look(given_room(world)), make_report(1))
    assert (world.status.phase, world.status.attempt, world.status.restarts) == ("Training", 0, 0)
    assert look(world.later(HOUR - 1), make_report(2)).status.phase == "Training"
    assert look(world.later(HOUR), make_report(2)).status.phase == "Failed"


def trained(gang: str, **limits: Any) -> World:
    """A job whose training has been given room and is done; its evaluator is asked for."""
    fields = {"scheduling": {"gang": gang, "queue": "npu"}, "evaluation": {"claimName": "sets", "sets": ["lfw"]}}
    world = queued(look(World(job=make_job(workers={"replicas": 2}, runPolicy=limits, uid="1", **fields))))
    world = look(look(given_room(world)), make_report(1))
    for name in world.pods:
        world = world.exited(name, 0)
    return look(look(world).swept())


@pytest.mark.parametrize("gang", GANGS)
def test_an_evaluator_that_waits_for_a_day_evaluates_uncounted_and_in_its_full_time(gang: str) -> None:
    world = trained(gang, backoffLimit=0, activeDeadlineSeconds=HOUR, startupDeadlineSeconds=60, stallSeconds=600)
    for _ in range(DAY):
        for name in [name for name in world.pods if name == "quick-evaluate"]:
            world = world.unschedulable(name)
        if gang == "kueue":
            world = kueue.looked_at(world, "quick-evaluate")
        world = look(world.later(HOUR))
        assert world.status.phase == "Queued"
        assert ("quick-evaluate" in world.pods) == (gang != "kueue")
    if gang == "kueue":
        world = look(kueue.admitted(world, "quick-evaluate"))
    placed = look(world.placed("quick-evaluate", "node-0"))
    assert [look(placed.later(seconds)).status.phase for seconds in (59, 60)] == ["Starting", "Failed"]
    world = look(world.started("quick-evaluate").later(59))
    assert (world.status.phase, world.status.restarts) == ("Starting", 0)
    world = look(look(world.evaluated(0, evaluator_report())))
    assert (world.status.phase, world.status.attempt, world.status.restarts) == ("Succeeded", 1, 0)


def test_a_gang_whose_pods_are_refused_for_a_day_is_still_asked_for() -> None:
    seen = {
        "pods": (),
        "failures": (refused_action("Pod quick-worker-0: admission webhook denied: podgroup phase is Pending"),),
    }
    plan = plan_in("Pending", seen, {"conditions": waiting_since(DAY * HOUR)}, scheduling={"gang": "volcano"})
    assert plan.status.phase == "Pending"
    assert worker_names(plan) == ["quick-worker-0", "quick-worker-1"]
    assert ready_of(plan)[:2] == ("False", "Refused")


def test_the_queue_is_named_with_the_words_of_the_scheduler() -> None:
    plan = plan_in("Pending", {"pods": (make_worker(0, **NO_ROOM), make_worker(1, **NO_ROOM))})
    assert plan.status.phase == "Queued"
    why = "2 of 2 pods have no node; pod quick-worker-0: Unschedulable: 0/3 nodes are available"
    assert ready_of(plan) == ("False", "Queued", why)


def half(seconds: float, **fields: Any) -> tuple[PodView, ...]:
    """A gang of which a half has had a node for some time."""
    return make_worker(0, scheduled_at=ago(seconds), **fields), make_worker(1, **NO_ROOM, created=ago(90_000))


def test_half_a_gang_is_let_go_uncounted() -> None:
    short = plan_in("Queued", {"pods": half(299)}, runPolicy={"backoffLimit": 0})
    assert (short.status.phase, words(short), short.look_again_seconds) == ("Queued", [], 1.0)
    plan = plan_in("Queued", {"pods": half(300)}, runPolicy={"backoffLimit": 0})
    assert (plan.status.phase, words(plan)) == ("Queued", ["delete:0", "delete:1"])
    assert (plan.status.attempt, plan.status.restarts, plan.status.counted_restarts) == (3, 2, 1)
    assert plan.status.failure.reason == "Before"
    assert ready_of(plan)[:2] == ("False", "PartlyHeld")
    assert "0/3 nodes are available" in ready_of(plan)[2]


def test_a_quota_for_half_a_gang_is_given_back() -> None:
    seen = {
        "pods": (make_worker(0, created=ago(300)),),
        "failures": (refused_action("Pod quick-worker-1: exceeded quota"),),
    }
    plan = plan_in("Pending", seen, runPolicy={"backoffLimit": 0})
    assert (plan.status.phase, words(plan)) == ("Queued", ["delete:0"])
    assert ready_of(plan)[2].endswith("no pod quick-worker-1: Pod quick-worker-1: exceeded quota")
    assert (plan.status.restarts, plan.status.counted_restarts) == (2, 1)


@pytest.mark.parametrize(
    "why", ["failed calling webhook", "Operation cannot be fulfilled on resourcequotas", "too many requests"]
)
def test_what_a_server_does_not_take_for_long_is_no_reason_to_hold_half_a_gang(why: str) -> None:
    failures = (ActionFailure(condition="Ready", message=f"Pod quick-worker-2: {why}", is_lasting=False),)

    def plan(newest: float) -> Plan:
        pods = (make_worker(0, created=ago(9000)), make_worker(1, created=ago(newest)))
        three = {"workers": {"replicas": 3}, "runPolicy": {"backoffLimit": 0}}
        return plan_in("Pending", {"pods": pods, "failures": failures}, **three)

    assert worker_names(plan(299)) == ["quick-worker-2"]
    held = plan(300)
    assert (held.status.phase, words(held)) == ("Queued", ["delete:0", "delete:1"])
    assert held.status.restarts == 2
    assert ready_of(held)[2].endswith(f"no pod quick-worker-2: Pod quick-worker-2: {why}")


def test_what_was_let_go_is_asked_for_again_after_a_pause_of_its_own() -> None:
    def plan(uid: str, seconds: float) -> Plan:
        vain = {"vain_attempts": 1, "restarted_at": ago(seconds), "attempt": 7}
        return plan_in("Queued", {"pods": ()}, vain, uid=uid)

    pauses = {plan(uid, 0).look_again_seconds for uid in ("a", "b", "c")}
    assert len(pauses) == 3
    assert all(SETTINGS.restart_seconds <= pause <= 2 * SETTINGS.restart_seconds for pause in pauses if pause)
    assert ready_of(plan("a", 0))[1] == "BackOff"
    assert worker_names(plan("a", 2 * SETTINGS.restart_seconds)) == ["quick-worker-0", "quick-worker-1"]


def test_a_rank_that_gives_up_before_the_others_have_room_is_not_blamed() -> None:
    pods = (make_ended(0, code=1), make_worker(1, **NO_ROOM))
    assert (plan_in("Queued", {"pods": pods}).status.phase, words(plan_in("Queued", {"pods": pods}))) == ("Queued", [])


def test_a_rank_that_nothing_can_help_ends_the_wait() -> None:
    pods = (make_ended(0, code=2), make_worker(1, **NO_ROOM))
    assert plan_in("Queued", {"pods": pods}).status.failure.reason == "InvalidInput"


def test_a_pod_that_the_queue_takes_back_is_asked_for_again() -> None:
    pods = (make_worker(0, leaves_at=ago(-100)), make_worker(1, **NO_ROOM))
    plan = plan_in("Queued", {"pods": pods}, runPolicy={"backoffLimit": 0})
    assert (plan.status.phase, plan.status.counted_restarts, words(plan)) == ("Restarting", 1, ["delete:1"])


INCURABLE = ["InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"]


@pytest.mark.parametrize("reason", INCURABLE)
@pytest.mark.parametrize("phase", ["Queued", "Starting"])
def test_what_time_never_cures_fails_soon_with_the_words(reason: str, phase: Any) -> None:
    def status(seconds: float) -> Any:
        stuck = {"phase": "Pending", "is_ready": False, "waiting": f"{reason}: couldn't find key token"}
        pods = (make_worker(0, **(NO_ROOM if phase == "Queued" else {})), make_worker(1, **stuck))
        plan = plan_in(phase, {"pods": pods, "stuck_since": {"worker-1-0": ago(seconds)}})
        assert plan.look_again_seconds is None or plan.look_again_seconds <= max(60 - seconds, 2)
        return plan.status

    assert status(59).phase == phase
    failed = status(60)
    assert (failed.phase, failed.failure.reason, failed.failure.rank) == ("Failed", reason, 1)
    assert failed.failure.message == f"pod quick-worker-1 can never start: {reason}: couldn't find key token"


def test_what_a_kubelet_says_in_passing_is_no_last_word() -> None:
    """As `CreateContainerConfigError: failed to sync configmap cache`, of a pod that has pulled its image for hours."""
    stuck = {"phase": "Pending", "is_ready": False, "waiting": "CreateContainerConfigError: failed to sync"}
    pod, waits = make_worker(1, created=ago(9000), **stuck), make_worker(1, created=ago(9000), **WAITS)
    assert plan_in("Starting", {"pods": (make_worker(0), pod)}).status.phase == "Starting"
    first = stuck_since((pod,), {}, ago(100))
    assert first == stuck_since((pod,), first, NOW) == {pod.uid: ago(100)}
    assert stuck_since((pod,), stuck_since((waits,), first, ago(50)), NOW) == {pod.uid: NOW}


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "ContainerCreating", "CrashLoopBackOff"])
def test_what_time_may_cure_is_waited_for(reason: str) -> None:
    pods = (make_worker(0), make_worker(1, phase="Pending", is_ready=False, waiting=f"{reason}: ", created=ago(1700)))
    conditions = {"conditions": running_since(1700)[:1]}
    assert plan_in("Starting", {"pods": pods}, conditions).status.phase == "Starting"


def refused(times: int, before: str, reason: str = "UnexpectedAdmissionError", vain: int = 99) -> Any:
    """After so many refused attempts, the last fault being another or the same, a kubelet refuses a pod again."""
    pods = (make_worker(0), make_ended(1, code=None, reason=reason, message="no healthy devices present", at=None))
    status = {"refused_attempts": times, "vain_attempts": vain, "failure": FailureStatus(reason=before, message="")}
    return plan_in("Starting", {"pods": pods}, status).status


def test_one_admission_error_again_and_again_fails_with_the_words() -> None:
    again = refused(8, "UnexpectedAdmissionError")
    assert (again.phase, again.refused_attempts, again.counted_restarts) == ("Restarting", 9, 1)
    failed = refused(9, "UnexpectedAdmissionError")
    assert (failed.phase, failed.failure.reason) == ("Failed", "UnexpectedAdmissionError")
    assert next(item.message for item in failed.conditions if item.type == "Failed") == (
        "10 attempts in a row were refused: "
        "pod quick-worker-1 failed: UnexpectedAdmissionError: no healthy devices present"
    )


def test_other_faults_between_begin_the_count_of_admission_errors_anew() -> None:
    assert refused(9, "Evicted").refused_attempts == 1
    assert refused(9, "Evicted", "Evicted").refused_attempts == 0


def test_attempts_that_were_let_go_for_want_of_room_were_refused_by_no_kubelet() -> None:
    before = {"refused_attempts": 9, "failure": FailureStatus(reason="UnexpectedAdmissionError", message="")}
    assert plan_in("Queued", {"pods": half(300)}, before).status.refused_attempts == 0
    assert refused(0, "UnexpectedAdmissionError", vain=50).phase == "Restarting"


def test_a_gang_that_ran_has_had_no_vain_attempts() -> None:
    crashed = {"pods": (make_ended(0, code=1), make_ended(1, code=1))}
    assert plan_in("Training", crashed, {"vain_attempts": 5}).status.vain_attempts == 0
    assert plan_in("Starting", crashed, {"vain_attempts": 5}).status.vain_attempts == 6


DEADLINE = {"runPolicy": {"schedulingDeadlineSeconds": 600}}


@pytest.mark.parametrize("phase", ["Pending", "Queued", "Restarting"])
def test_a_deadline_for_the_wait_fails_by_the_users_wish_alone(phase: Any) -> None:
    pods = (make_worker(0, **NO_ROOM), make_worker(1, **NO_ROOM))
    late = plan_in(phase, {"pods": pods}, {"conditions": waiting_since(600)}, **DEADLINE).status
    assert (late.phase, late.failure.reason) == ("Failed", "SchedulingDeadlineExceeded")
    early = plan_in("Queued", {"pods": pods}, {"conditions": waiting_since(590)}, **DEADLINE)
    assert (early.status.phase, early.look_again_seconds) == ("Queued", 10.0)


def test_time_that_the_job_was_suspended_is_no_wait_for_room() -> None:
    pods = (make_worker(0, **NO_ROOM), make_worker(1, **NO_ROOM))
    resumed = {"conditions": waiting_since(90_000), "start_time": ago(590)}
    assert plan_in("Queued", {"pods": pods}, resumed, **DEADLINE).status.phase == "Queued"


def test_room_that_comes_with_the_deadline_is_taken() -> None:
    plan = plan_in("Queued", {"pods": (make_worker(0), make_worker(1))}, {"conditions": waiting_since(900)}, **DEADLINE)
    assert plan.status.phase == "Starting"


ACTIVE = {"runPolicy": {"activeDeadlineSeconds": 1000}}


def test_the_time_of_earlier_attempts_is_counted_and_that_in_a_queue_is_not() -> None:
    waits = {"start_time": ago(90_000), "conditions": waiting_since(80_000), "active_seconds": 999}
    pods = (make_worker(0, **NO_ROOM), make_worker(1, **NO_ROOM))
    assert plan_in("Queued", {"pods": pods}, waits, **ACTIVE).status.phase == "Queued"
    runs = {"start_time": ago(90_000), "conditions": running_since(1), "active_seconds": 999}
    assert plan_in("Training", {}, runs, **ACTIVE).status.failure.reason == "DeadlineExceeded"


def test_a_restart_keeps_the_time_that_was_used() -> None:
    runs = {"start_time": ago(90_000), "conditions": running_since(500), "active_seconds": 70}
    crashed = {"pods": (make_ended(0, code=1), make_ended(1, code=1))}
    assert plan_in("Training", crashed, runs, **ACTIVE).status.active_seconds == 570
    assert plan_in("Training", {}, runs, **ACTIVE).status.active_seconds == 70


LACKING = [
    Condition(type="Ready", status="False", reason="Refused", message="no quota", last_transition_time=ago(9000)),
    *(
        Condition(type=kind, status="True", reason="Test", message="", last_transition_time=ago(1800))
        for kind in ("Scheduled", "Training")
    ),
]
"""Of a gang with nodes that has lacked its Service for hours, since the API server does not take another."""


def test_what_fails_while_a_gang_has_room_stops_none_of_its_clocks() -> None:
    runs = {"start_time": ago(90_000), "conditions": LACKING}
    assert plan_in("Training", {}, runs, **ACTIVE).status.failure.reason == "DeadlineExceeded"
    pods = (make_worker(0), make_worker(1, phase="Pending", is_ready=False, waiting="ErrImagePull"))
    starts = plan_in("Starting", {"pods": pods}, {"conditions": LACKING[:2]})
    assert starts.status.failure.reason == "StartupDeadlineExceeded"


def test_what_failed_while_a_gang_had_room_was_no_wait_for_it() -> None:
    kept = {"conditions": LACKING, "start_time": ago(90_000)}
    crashed = plan_in("Training", {"pods": (make_worker(0), make_ended(1, code=1))}, kept, **DEADLINE).status
    after = {field: getattr(crashed, field) for field in ("conditions", "attempt", "start_time", "restarted_at")}
    assert plan_in("Restarting", {"pods": ()}, after, **DEADLINE).status.phase == "Restarting"


def scheduled_of(status: Any) -> Condition:
    (found,) = [item for item in status.conditions if item.type == "Scheduled"]
    return found


HAD_ROOM = [
    Condition(type=kind, status="True", reason="Test", message="", last_transition_time=ago(DAY * HOUR))
    for kind in ("Ready", "Scheduled", "Training")
]
CRASHED = {"pods": (make_ended(0, code=1), make_ended(1, code=1))}
OF_BEFORE = make_worker(0, -1, leaves_at=ago(-HOUR))


def handed_on(status: Any, seconds: float = 0) -> dict[str, Any]:
    """What the next look finds of a status that was decided some time ago."""
    fields = ("attempt", "start_time", "restarts", "restarted_at")
    past = [item.model_copy(update={"last_transition_time": ago(seconds)}) for item in status.conditions]
    return {"conditions": past, **{field: getattr(status, field) for field in fields}}


def test_the_wait_for_room_begins_when_the_pods_of_the_attempt_before_are_gone() -> None:
    status = plan_in("Training", CRASHED, {"conditions": HAD_ROOM, "start_time": ago(DAY * HOUR)}, **DEADLINE).status
    assert (status.phase, status.attempt) == ("Restarting", 3)
    unknown = scheduled_of(status)
    assert (unknown.status, unknown.reason) == ("Unknown", "PodsLeaving")
    still = plan_in("Restarting", {"pods": (OF_BEFORE,)}, handed_on(status, 9000), **DEADLINE).status
    assert scheduled_of(still) == unknown.model_copy(update={"last_transition_time": ago(9000)})
    gone = plan_in("Restarting", {"pods": ()}, handed_on(still, 9000), **DEADLINE).status
    asked = scheduled_of(gone)
    assert (gone.phase, asked.status, asked.last_transition_time) == ("Restarting", "False", NOW)
    assert plan_in("Restarting", {"pods": ()}, handed_on(gone, 599), **DEADLINE).status.phase == "Restarting"
    late = plan_in("Restarting", {"pods": ()}, handed_on(gone, 600), **DEADLINE).status
    assert (late.phase, late.failure.reason) == ("Failed", "SchedulingDeadlineExceeded")


@pytest.mark.parametrize("phase", ["Suspended", "Training"], ids=["at rest", "while its pods save"])
def test_a_job_that_is_resumed_waits_for_room_from_when_its_pods_of_before_are_gone(phase: Any) -> None:
    suspending = Condition(type="Suspended", status="False", reason="Suspending", message="", last_transition_time=NOW)
    conditions = [*waiting_since(9000), *([suspending] if phase == "Training" else [])]
    status = plan_in(phase, {"pods": (OF_BEFORE,)}, {"conditions": conditions}, **DEADLINE).status
    assert (status.attempt, scheduled_of(status).status) == (3, "Unknown")
    gone = plan_in("Pending", {"pods": ()}, handed_on(status, 9000), **DEADLINE).status
    assert (scheduled_of(gone).status, scheduled_of(gone).last_transition_time) == ("False", NOW)


def test_a_job_waits_for_room_from_when_the_pods_of_its_namesake_are_gone() -> None:
    namesake = {"pods": (), "earlier": (make_worker(0, owner="other"),)}
    status = plan_in(None, namesake, **DEADLINE).status
    assert (scheduled_of(status).reason, scheduled_of(status).status) == ("PodsLeaving", "Unknown")
    still = plan_in("Pending", namesake, handed_on(status, 9000), **DEADLINE).status
    assert scheduled_of(still).last_transition_time == ago(9000)
    gone = plan_in("Pending", {"pods": ()}, handed_on(still, 9000), **DEADLINE).status
    assert (gone.phase, scheduled_of(gone).status, scheduled_of(gone).last_transition_time) == ("Pending", "False", NOW)


def test_a_half_that_is_let_go_again_and_again_has_waited_since_it_first_asked() -> None:
    waits = [condition.model_copy(update={"type": "Scheduled"}) for condition in waiting_since(500)]
    status = plan_in("Queued", {"pods": half(300)}, {"conditions": waits, "start_time": ago(500)}, **DEADLINE).status
    assert (status.phase, status.attempt) == ("Queued", 3)
    assert (scheduled_of(status).status, scheduled_of(status).last_transition_time) == ("False", ago(500))


def test_who_waited_in_vain_is_told_what_for() -> None:
    conditions = [
        Condition(type=kind, status="False", reason="Test", message=message, last_transition_time=ago(600))
        for kind, message in (("Ready", "there is no claim 'faces'; create it"), ("Scheduled", ""))
    ]
    failed = plan_in("Pending", {"pods": ()}, {"conditions": conditions}, **DEADLINE).status.failure
    assert failed.message.endswith("schedulingDeadlineSeconds 600: there is no claim 'faces'; create it")


def test_two_halves_of_two_gangs_do_not_hold_each_other_for_ever() -> None:
    """Two jobs of two pods on room for two, each with one pod placed; nobody helps but their own letting go."""
    worlds = [look(World(job=make_job(f"job-{n}", workers={"replicas": 2}, uid=str(n)))) for n in range(2)]
    for _ in range(2000):
        worlds = [tick(worlds, place) for place in range(2)]
        if any(world.status.phase == "Starting" for world in worlds):
            return
    pytest.fail("both wait")


def tick(worlds: list[World], place: int) -> World:
    """Five seconds of one job: its pods are placed as far as there is room, one a tick, and it is looked at."""
    world = worlds[place].later(5).swept()
    used = sum("nodeName" in pod["spec"] for other in (worlds[1 - place], world) for pod in other.pods.values())
    for name, pod in world.pods.items():
        if "nodeName" not in pod["spec"]:
            world = world.placed(name, "node") if used < 2 else world.unschedulable(name)
            break
    plan = decide(world.observe(), SETTINGS, world.now)
    return world.carried_out(plan)


def test_there_is_nothing_to_wait_for_once_all_have_room() -> None:
    plan = plan_in("Queued", {"pods": (make_worker(0), make_worker(1))})
    assert ready_of(plan) == ("True", "Ready", "all pods have nodes")
    assert {item.last_transition_time for item in plan.status.conditions if item.type == "Ready"} == {NOW}
