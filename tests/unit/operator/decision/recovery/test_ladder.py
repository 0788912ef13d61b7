"""Which rung of the ladder a fault is met with, and what the status keeps of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.launcher_words import GangWord, PodWord
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_api.contract.reports import ReportedFailure
from arcface_api.resource.status import CheckpointStatus, Recovery
from arcface_operator.decision.fault_table.table import Blame
from arcface_operator.decision.faults import MESSAGE_LIMIT, REASON_LIMIT
from arcface_operator.decision.observation import HeardWords
from arcface_operator.decision.plan import Annotate, EmitEvent, Plan
from arcface_operator.decision.recovery.ladder import GangState, Rung, rung_of
from support.builders.plans import plan_in
from support.builders.views import SETTINGS, ago, make_ended, make_report, make_worker
from support.decision_table import action_word

WELL = GangState(is_at_work=True, is_told=True, is_whole=True, has_lost_one=False, is_unheard=False, was_in_vain=False)
LOSS = replace(WELL, is_told=False, is_whole=False, has_lost_one=True)
STATES = {
    "a launcher waits, all pods run": WELL,
    "nobody tells of it": replace(WELL, is_told=False),
    "pods have ended or leave": replace(WELL, is_whole=False),
    "the ranks have not begun": replace(WELL, is_at_work=False),
    "in place was in vain": replace(WELL, was_in_vain=True),
    "a launcher has told of it and is not heard any more": replace(WELL, is_unheard=True),
    "one pod is lost": LOSS,
    "one pod is lost, and its peers tell of it": replace(LOSS, is_told=True),
    "one pod is lost while the ranks begin": replace(LOSS, is_at_work=False),
    "one pod is lost after another, or after its ranks": replace(LOSS, was_in_vain=True),
    "one pod is lost, and nobody hears the others": replace(LOSS, is_unheard=True),
}
ONE_POD = {"one pod is lost", "one pod is lost, and its peers tell of it"}


@pytest.mark.parametrize("blame", Blame, ids=lambda blame: blame.value)
@pytest.mark.parametrize("state", STATES)
def test_no_more_is_started_anew_than_may_help(blame: Blame, state: str) -> None:
    if state in ONE_POD and blame is not Blame.JOB:
        rung = Rung.ONE_POD
    elif blame is Blame.PROGRAM and state == "a launcher waits, all pods run":
        rung = Rung.IN_PLACE
    else:
        rung = Rung.WHOLE_GANG
    assert rung_of(blame, STATES[state]) is rung


def word(rank: int, code: int = 137, launch: int = 0, reason: str = "RankDied", **fields: Any) -> PodWord:
    failure = ReportedFailure(reason=reason, message=f"rank {rank} is gone", rank=rank, exit_code=code, log=["last"])
    return PodWord(**{"attempt": 2, "launch": launch, "rank": rank, "failure": failure, "step": 9, **fields})


def heard(*failures: PodWord, launch: int = 0, pods: int = 2, at: float = 0.0) -> HeardWords:
    gang = GangWord(attempt=2, serial=1, launch=launch, pods=pods, failures=list(failures))
    return HeardWords(gang, ago(at))


def decided(words: HeardWords | None, phase: str = "Training", status: Any = None, **seen: Any) -> Plan:
    pods = (make_worker(0, 0), make_worker(1, 0))
    return plan_in(phase, {"pods": pods, "words": words, **seen}, status, workers={"replicas": 2})


def annotations(plan: Plan) -> list[tuple[str, str]]:
    actions = (action for action in plan.actions if isinstance(action, Annotate))
    return [(action.name, action.annotations[LAUNCH_ANNOTATION]) for action in actions]


def test_a_killed_rank_has_all_ranks_start_anew_in_their_pods_at_once() -> None:
    plan = decided(heard(word(1)))
    status = plan.status
    assert annotations(plan) == [("quick-worker-0", "1"), ("quick-worker-1", "1")]
    assert (status.phase, status.attempt, status.launch) == ("Restarting", 2, 1)
    assert (status.restarts, status.counted_restarts) == (3, 2)
    assert (status.failure.reason, status.failure.rank, status.failure.pod) == ("RankDied", 1, "quick-worker-1")
    assert (status.failure.exit_code, status.failure.log) == (137, ["last"])
    (recovery,) = status.recoveries
    assert (recovery.rung, recovery.cause, recovery.step, recovery.seconds) == ("InPlace", "RankDied", 9, None)
    (event,) = [action for action in plan.actions if isinstance(action, EmitEvent)]
    assert event.message.startswith("the ranks of attempt 2 start anew in their pods: ")


def test_what_may_be_a_consequence_waits_for_another_word() -> None:
    victim = word(0, code=1)
    assert decided(heard(victim)).look_again_seconds == SETTINGS.settle_seconds
    assert decided(heard(victim, word(1))).status.failure.rank == 1
    assert decided(heard(victim, at=SETTINGS.settle_seconds)).status.failure.rank == 0


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(heard(word(1, launch=1), launch=1), id="another launch"),
        pytest.param(heard(word(1, attempt=1)), id="another attempt"),
        pytest.param(heard(word(1, job_uid="another")), id="another job"),
        pytest.param(heard(word(64)), id="a rank that the gang has not"),
        pytest.param(heard(), id="nothing has failed"),
    ],
)
def test_words_of_others_say_nothing(words: HeardWords) -> None:
    plan = decided(words)
    assert (plan.status.phase, plan.actions) == ("Training", ())


def test_a_word_of_any_length_leaves_a_status_that_can_be_written() -> None:
    failure = ReportedFailure(reason="R" * 60_000, message="m" * 60_000, exit_code=1, log=["l" * 60_000])
    plan = decided(heard(word(1, failure=failure), at=SETTINGS.settle_seconds))
    assert plan.status.phase == "Restarting"
    assert plan.status.failure.message == f"pod quick-worker-1: {'m' * MESSAGE_LIMIT}"
    assert plan.status.recoveries[-1].cause == "R" * REASON_LIMIT
    assert len(plan.status.to_json()) < 10_000


@pytest.mark.parametrize(("step", "code", "is_one"), [(2**53, -9, True), (2**53 + 1, 1, False), (1, 2**31, False)])
def test_a_word_with_a_number_that_no_status_holds_is_none(step: int, code: int, is_one: bool) -> None:
    failure = {"reason": "RankDied", "message": "gone", "exitCode": code}
    told = {"attempt": 2, "launch": 0, "rank": 1, "step": step, "failure": failure}
    answer = {"attempt": 2, "serial": 1, "launch": 0, "pods": 2, "failures": [told]}
    assert (GangWord.parse(json.dumps(answer).encode()) is not None) == is_one


IN_VAIN = Recovery(rung="InPlace", cause="RankDied", since=ago(5))
LEAVING = make_worker(0, leaves_at=ago(-9))
WHOLE_GANG = ["delete:0", "delete:1"]


@pytest.mark.parametrize(
    ("words", "seen", "status"),
    [
        pytest.param(heard(word(1)), {"pods": (LEAVING, make_ended(1, code=137))}, {}, id="pods have ended or leave"),
        pytest.param(heard(word(1), at=9), {"lost_nodes": frozenset({"node-0", "node-1"})}, {}, id="nodes are lost"),
        pytest.param(heard(word(1, code=143), at=9), {}, {}, id="it was stopped, and nobody says why"),
        pytest.param(heard(word(1)), {}, {"recoveries": [IN_VAIN]}, id="in vain"),
    ],
)
def test_what_cannot_be_cured_in_place_has_all_pods_start_anew(words: HeardWords, seen: Any, status: Any) -> None:
    plan = decided(words, status=status, **seen)
    assert (plan.status.phase, plan.status.attempt, plan.status.launch) == ("Restarting", 3, 0)
    assert plan.status.recoveries[-1].rung == "WholeGang"
    words_of = [name for action in plan.actions if (name := action_word(action)) is not None]
    assert {word.replace("hurry", "delete") for word in words_of} <= set(WHOLE_GANG)


@pytest.mark.parametrize("code", [2, 3])
def test_what_no_retry_cures_is_not_retried_in_place_either(code: int) -> None:
    assert decided(heard(word(1, code=code, reason="x"))).status.phase == "Failed"


def test_restarts_in_place_count_as_those_of_the_gang_do() -> None:
    plan = plan_in(
        "Training",
        {"pods": (make_worker(0), make_worker(1)), "words": heard(word(1))},
        workers={"replicas": 2},
        runPolicy={"backoffLimit": 1},
    )
    assert (plan.status.phase, plan.status.failure.reason) == ("Failed", "RankDied")


def test_ranks_that_fail_again_before_a_new_step_have_all_pods_start_anew_without_a_pause() -> None:
    recovery = Recovery(rung="InPlace", cause="RankDied", since=ago(5), step=9)
    pods = tuple(make_worker(index, annotations={LAUNCH_ANNOTATION: "1"}) for index in range(2))
    words = heard(word(1, launch=1), launch=1)
    plan = decided(words, "Starting", {"recoveries": [recovery], "launch": 1}, pods=pods)
    assert (plan.status.phase, plan.status.attempt, plan.status.vain_attempts) == ("Restarting", 3, 0)
    assert [each.rung for each in plan.status.recoveries] == ["InPlace", "WholeGang"]


def told(step: int, resumed: int | None) -> Any:
    checkpoint = CheckpointStatus(path="p", step=4, saved_at=ago(9), sha256="0" * 64, resumed_from_step=resumed)
    return make_report(step).model_copy(update={"checkpoint": checkpoint})


@pytest.mark.parametrize(
    ("report", "seconds", "lost"),
    [
        pytest.param(told(4, 4), None, None, id="no new step yet"),
        pytest.param(told(5, 4), 7.0, 5, id="the first new step"),
        pytest.param(make_report(1), 7.0, 9, id="from the beginning"),
        pytest.param(make_report(0), None, None, id="from the beginning, no step yet"),
    ],
)
def test_a_recovery_is_over_with_the_first_new_step(report: Any, seconds: float | None, lost: int | None) -> None:
    recovery = Recovery(rung="InPlace", cause="RankDied", since=ago(7), step=9)
    (found,) = decided(None, "Starting", {"recoveries": [recovery], "launch": 1}, report=report).status.recoveries
    assert (found.seconds, found.steps_lost) == (seconds, lost)


def test_a_recovery_is_over_with_the_training_where_no_step_was_left_to_be_made() -> None:
    recovery = Recovery(rung="InPlace", cause="RankDied", since=ago(7), step=100)
    pods = make_ended(0, message=told(100, 100).to_json()), make_ended(1)
    status = decided(None, status={"recoveries": [recovery], "launch": 1}, pods=pods).status
    assert status.training_completion_time is not None
    assert [(each.seconds, each.steps_lost) for each in status.recoveries] == [(7.0, 0)]


def test_a_suspension_is_not_of_a_recoverys_time() -> None:
    """What is kept of it is the time from the resumption."""
    recovery = Recovery(rung="InPlace", cause="RankDied", since=ago(9999), step=9)
    status = {"recoveries": [recovery], "start_time": ago(8)}
    (found,) = decided(None, "Starting", status, report=told(5, 4)).status.recoveries
    assert (found.seconds, found.steps_lost) == (8.0, 5)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_pod_that_is_gone_before_its_ranks_start_anew_in_it_has_all_pods_made_anew(lost: int) -> None:
    """Another one in its place would look for peers that have met already."""
    recovery = Recovery(rung="InPlace", cause="RankDied", since=ago(1), step=9)
    known = {"recoveries": [recovery], "launch": 1, "restarted_at": ago(1)}
    plan = decided(None, "Restarting", known, pods=(make_worker(1 - lost),))
    assert (plan.status.phase, plan.status.attempt, plan.status.launch) == ("Restarting", 3, 0)
    assert [each.cause for each in plan.status.recoveries] == ["RankDied", "PodLost"]
    assert [word for action in plan.actions if (word := action_word(action)) is not None] == [f"hurry:{1 - lost}"]


def test_only_the_last_recoveries_are_kept() -> None:
    over = [Recovery(rung="WholeGang", cause=f"c{n}", since=ago(99), seconds=1.0) for n in range(10)]
    kept = decided(heard(word(1)), status={"recoveries": over}).status.recoveries
    assert [each.cause for each in kept] == [*(f"c{n}" for n in range(1, 10)), "RankDied"]
