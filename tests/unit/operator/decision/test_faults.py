"""What the end of a pod says, which of several ends is to blame, and what is kept of termination messages."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arcface_api.contract.reports import (
    EvaluatorReport,
    ReportedFailure,
    Standstill,
    TrainerReport,
    termination_message,
)
from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.fault_table.table import INIT_FAILED, POD_FAILED, Remedy
from arcface_operator.decision.faults import MESSAGE_LIMIT, located, one_line, pod_fault, worst
from arcface_operator.decision.observation import PodView
from support.builders.views import ago, make_ended, make_evaluator, make_worker


def make_evicted(code: int) -> PodView:
    """A pod whose container had time to end before its eviction was through."""
    return replace(make_ended(0, code=code, is_disrupted=True), reason="Evicted")


LEAVES = {"leaves_at": ago(-100)}


@pytest.mark.parametrize(
    ("pod", "reason", "is_counted"),
    [
        pytest.param(make_ended(0, code=1), "Error", True, id="exit 1"),
        pytest.param(make_ended(0, code=137), "Error", True, id="killed"),
        pytest.param(make_ended(0, code=139), "Error", True, id="segmentation fault"),
        pytest.param(make_ended(0, code=255), "Error", True, id="exit 255"),
        pytest.param(make_ended(0, code=137, reason="OOMKilled"), "OOMKilled", True, id="out of memory"),
        pytest.param(make_ended(0, code=1, reason="OOMKilled"), "OOMKilled", True, id="a child was out of memory"),
        pytest.param(make_ended(0, code=143), "Disrupted", False, id="stopped"),
        pytest.param(
            make_ended(0, code=137, reason="ContainerStatusUnknown"),
            "ContainerStatusUnknown",
            False,
            id="node was away",
        ),
        pytest.param(make_ended(0, code=255, reason="Unknown"), "Unknown", False, id="node rebooted"),
        pytest.param(make_ended(0, code=137, is_disrupted=True), "Disrupted", False, id="killed by the cluster"),
        pytest.param(make_evicted(137), "Evicted", False, id="killed when evicted"),
        pytest.param(make_ended(0, code=1, is_disrupted=True), "Disrupted", False, id="exit 1 when disrupted"),
        pytest.param(make_ended(0, code=137, **LEAVES), "Disrupted", False, id="killed when deleted"),
        pytest.param(make_ended(0, code=None, reason="Evicted"), "Evicted", False, id="evicted"),
        pytest.param(make_ended(0, code=None, reason="Preempted"), "Preempted", False, id="preempted"),
        pytest.param(make_ended(0, code=None, reason="NodeLost"), "NodeLost", False, id="node lost"),
        pytest.param(
            make_ended(0, code=None, reason="UnexpectedAdmissionError"), "UnexpectedAdmissionError", False, id="refused"
        ),
        pytest.param(make_ended(0, code=None, reason=INIT_FAILED), INIT_FAILED, True, id="init container"),
        pytest.param(make_ended(0, code=None, reason=INIT_FAILED, **LEAVES), INIT_FAILED, False, id="init, deleted"),
        pytest.param(make_ended(0, code=None, reason=POD_FAILED), POD_FAILED, True, id="failed, nobody says why"),
        pytest.param(
            make_ended(0, code=None, reason=POD_FAILED, is_disrupted=True), POD_FAILED, False, id="failed, disrupted"
        ),
        pytest.param(make_worker(0, **LEAVES), "PodDeleted", False, id="deleted"),
    ],
)
def test_a_fault_that_is_tried_again(pod: PodView, reason: str, is_counted: bool) -> None:
    fault = pod_fault(pod, 1)
    assert fault is not None
    assert (fault.failure.reason, fault.remedy) == (reason, Remedy.RESTART if is_counted else Remedy.RESTART_FREE)


@pytest.mark.parametrize(
    ("reason", "is_refusal"),
    [
        ("UnexpectedAdmissionError", True),
        ("OutOfhuawei.com/Ascend910", True),
        ("TopologyAffinityError", True),
        ("Evicted", False),
        ("NodeLost", False),
        (INIT_FAILED, False),
        (POD_FAILED, False),
    ],
)
def test_a_kubelet_that_would_not_have_the_pod_is_told_from_one_that_took_it_away(
    reason: str, is_refusal: bool
) -> None:
    fault = pod_fault(make_ended(0, code=None, reason=reason), 1)
    assert fault is not None
    assert fault.verdict.is_refusal == is_refusal


@pytest.mark.parametrize("fields", [{}, {"is_disrupted": True}, LEAVES], ids=["alone", "disrupted", "deleted"])
@pytest.mark.parametrize(("code", "reason"), [(2, "InvalidInput"), (3, "Diverged")])
def test_a_fault_that_no_retry_cures(code: int, reason: str, fields: dict[str, Any]) -> None:
    fault = pod_fault(make_ended(0, code=code, **fields), 1)
    assert fault is not None
    assert (fault.failure.reason, fault.remedy) == (reason, Remedy.FAIL)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(make_worker(0), id="runs"),
        pytest.param(make_worker(0, phase="Pending", waiting="ImagePullBackOff"), id="waits"),
        pytest.param(make_ended(0), id="done"),
        pytest.param(make_ended(0, **LEAVES), id="done and deleted"),
    ],
)
def test_a_pod_that_is_well_has_no_fault(pod: PodView) -> None:
    assert pod_fault(pod, 1) is None


def told(**fields: Any) -> ReportedFailure:
    default = {"reason": "RankDied", "message": "rank 5 died", "exit_code": 1, "log": ["first", "last"]}
    return ReportedFailure(**{**default, **fields})


def failure_of(message: str, code: int = 1, **fields: Any) -> FailureStatus:
    fault = pod_fault(make_ended(1, code=code, message=message, **fields), 4)
    assert fault is not None
    return fault.failure


def test_the_digest_names_rank_pod_node_and_exit_code() -> None:
    failure = failure_of("", code=137)
    assert (failure.rank, failure.pod, failure.node, failure.exit_code) == (4, "quick-worker-1", "node-1", 137)
    assert failure.message == "pod quick-worker-1: exit code 137"


def test_a_trainers_report_is_read() -> None:
    failure = failure_of(TrainerReport(failure=told(rank=5)).to_json())
    assert (failure.reason, failure.message) == ("RankDied", "pod quick-worker-1: rank 5 died")
    assert (failure.rank, failure.log) == (5, ["first", "last"])


def test_an_evaluators_report_is_read() -> None:
    report = EvaluatorReport(checkpoint="step-9", failure=told(message="no lfw.bin", reason="Error"))
    pod = make_evaluator(1, report.to_json())
    fault = pod_fault(pod, 1)
    assert fault is not None
    assert (fault.failure.message, fault.failure.rank) == ("pod quick-evaluate: no lfw.bin", None)


def test_a_report_that_was_shortened_to_fit_is_read() -> None:
    report = TrainerReport(failure=told(message="lost " * 5000, log=["line"] * 5000))
    assert failure_of(termination_message(report).decode()).reason == "RankDied"


@pytest.mark.parametrize("rank", [0, 3, 8, 10**30])
def test_a_report_cannot_speak_for_ranks_of_other_pods(rank: int) -> None:
    assert failure_of(TrainerReport(failure=told(rank=rank)).to_json()).rank == 4


@pytest.mark.parametrize(
    ("code", "fields", "reason"),
    [
        pytest.param(2, {}, "InvalidInput", id="final code"),
        pytest.param(137, {"reason": "OOMKilled"}, "OOMKilled", id="out of memory"),
        pytest.param(143, {}, "Disrupted", id="stopped"),
    ],
)
def test_the_exit_code_weighs_more_than_the_report(code: int, fields: dict[str, Any], reason: str) -> None:
    assert failure_of(TrainerReport(failure=told()).to_json(), code, **fields).reason == reason


def test_the_tail_of_a_plain_log_is_kept_and_its_last_line_told() -> None:
    lines = [f"line {number}" for number in range(30)]
    failure = failure_of("\n".join([*lines, "  ", ""]))
    assert failure.message == "pod quick-worker-1: exit code 1: line 29"
    assert failure.log == [*lines[-19:], "  "]
    assert failure_of("x" * 4096).log == ["x" * 500]


def test_a_report_of_a_newer_release_is_one() -> None:
    newer = {"reason": "Cosmic", "message": "a ray", "exitCode": 7, "particle": "muon"}
    failure = failure_of(json.dumps({"failure": newer, "detector": "L3"}))
    assert (failure.reason, failure.exit_code) == ("Cosmic", 1)
    assert "a ray" in failure.message


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("{}", id="empty report"),
        pytest.param('{"failure":null}', id="report of success"),
        pytest.param('{"failure":{"reason":"Error"', id="cut off"),
        pytest.param("[" * 4096, id="deep"),
        pytest.param('"\\ud800"', id="half a character"),
        pytest.param("\x00\x1b]0;title\x07", id="control characters"),
    ],
)
def test_what_is_no_report_is_taken_for_a_log(message: str) -> None:
    failure = failure_of(message)
    assert failure.reason == "Error"
    assert failure.message.startswith(f"pod quick-worker-1: exit code 1: {message[:9]}")
    assert failure.log == [message[:500]]


@given(st.text(max_size=300), st.sampled_from([None, 1, 2, 3, 137, 143]), st.text(max_size=40))
def test_no_message_breaks_the_digest(message: str, code: int | None, reason: str) -> None:
    fault = pod_fault(make_ended(1, code=code, message=message, reason=reason), 4)
    assert fault is not None
    assert FailureStatus.from_json(fault.failure.to_json(), "failure") == fault.failure
    assert len(fault.failure.message.splitlines()) == 1
    assert len(fault.failure.log) <= 20
    assert all(len(line) <= 500 for line in fault.failure.log)


FINAL = make_ended(2, code=3, at=ago(1))
DISRUPTED = make_ended(1, code=143, at=ago(2))
EVICTED = make_ended(3, code=None, reason="Evicted", at=None)
EARLY, LATE = make_ended(4, code=1, at=ago(9)), make_ended(0, code=1, at=ago(3))
SAME = make_ended(1, code=1, at=ago(9))
THEN = ago(9)


@pytest.mark.parametrize(
    ("pods", "index"),
    [
        pytest.param([LATE, EARLY, DISRUPTED, EVICTED, FINAL], 2, id="what no retry cures comes first"),
        pytest.param([LATE, EARLY, DISRUPTED], 1, id="then what the cluster did"),
        pytest.param([LATE, EARLY, EVICTED], 3, id="even where its time is not known"),
        pytest.param([LATE, EARLY], 4, id="then the first in time"),
        pytest.param([EARLY, SAME], 1, id="then the lowest rank"),
        pytest.param([make_ended(0), LATE, make_worker(1)], 0, id="pods that are well are not to blame"),
    ],
)
def test_the_fault_to_act_on(pods: list[PodView], index: int) -> None:
    for order in (pods, pods[::-1]):
        fault = worst((pod, fault) for pod in order if (fault := pod_fault(pod, 1)) is not None)
        assert fault is not None
        assert fault.failure.rank == index


def stalled(index: int, phase: str, step: int | None = 7, *, is_held: bool = False, at: datetime = THEN) -> PodView:
    """A pod of one rank that its launcher found standing still."""
    still = Standstill(is_held=is_held, step=step, is_in_step=phase == "step")
    failure = told(reason="Stalled", message=f"rank {index} makes no progress", rank=index, standstill=still)
    return make_ended(index, code=1, message=TrainerReport(failure=failure).to_json(), at=at)


WAITING = [stalled(index, "step") for index in (0, 1, 2, 3, 4, 6, 7)]


@pytest.mark.parametrize(
    ("culprit", "rank"),
    [
        pytest.param(stalled(5, "data"), 5, id="waits for images, in the same second"),
        pytest.param(stalled(5, "data", at=ago(8)), 5, id="waits for images, told a second later"),
        pytest.param(stalled(5, "step", 6), 5, id="a step behind the others"),
        pytest.param(stalled(5, "step", is_held=True), 5, id="its process is stopped"),
        pytest.param(stalled(5, "data", None), 5, id="trains for the first time"),
        pytest.param(stalled(5, "step"), 0, id="all in one collective: the lowest"),
        pytest.param(stalled(5, "step", at=ago(10)), 5, id="all in one collective: the first to tell"),
        pytest.param(
            make_ended(5, code=1, message=TrainerReport(failure=told(reason="Stalled")).to_json(), at=THEN),
            0,
            id="of a launcher of an earlier release",
        ),
    ],
)
def test_of_ranks_that_stand_still_the_one_that_the_others_wait_for_is_named(culprit: PodView, rank: int) -> None:
    """Eight pods, whose kubelets tell whole seconds."""
    for order in ([*WAITING, culprit], [culprit, *WAITING]):
        fault = worst((pod, fault) for pod in order if (fault := pod_fault(pod, 1)) is not None)
        assert fault is not None
        assert (fault.failure.rank, fault.failure.pod) == (rank, f"quick-worker-{rank}")


def diverged(index: int, rank: int | None) -> PodView:
    """A pod of 4 ranks that reports where the numbers went wrong, as every pod of its gang does."""
    message = TrainerReport(failure=told(reason="Diverged", message="the loss is no number", rank=rank)).to_json()
    return make_ended(index, code=3, message=message)


@pytest.mark.parametrize(
    ("rank", "place"), [(0, (0, "quick-worker-0", "node-0")), (9, (9, "quick-worker-2", "node-2"))]
)
def test_a_fault_is_told_of_the_pod_that_holds_its_rank_and_not_of_the_first_to_tell(rank: int, place: object) -> None:
    reporter = diverged(1, rank)
    fault = pod_fault(reporter, 4)
    assert fault is not None
    failure = located(fault, [make_worker(0), reporter, make_worker(2)], 4).failure
    assert (failure.rank, failure.pod, failure.node) == place
    assert (failure.exit_code, failure.message) == (3, "pod quick-worker-1: the loss is no number")


@pytest.mark.parametrize("rank", [None, 5, 8, 12, 10**30])
def test_a_rank_of_the_pod_itself_of_none_or_of_no_pod_that_is_there_leaves_the_reporter(rank: int | None) -> None:
    reporter = diverged(1, rank)
    fault = pod_fault(reporter, 4)
    assert fault is not None
    failure = located(fault, [make_worker(0), reporter], 4).failure
    assert (failure.rank, failure.pod, failure.node) == (5 if rank == 5 else 4, "quick-worker-1", "node-1")


def test_without_faults_nothing_is_acted_on() -> None:
    assert worst([]) is None


def test_words_from_outside_are_kept_in_one_line_and_no_more_of_them_than_a_status_holds() -> None:
    assert one_line(" denied:\n  no\tquota ") == "denied: no quota"
    assert one_line("denied " * 10**6) == ("denied " * 10**6)[:MESSAGE_LIMIT]
