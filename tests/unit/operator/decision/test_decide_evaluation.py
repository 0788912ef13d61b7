"""The evaluator, absent, running, ended or of an older wish, in every phase."""

from typing import Any

import pytest

from arcface_api.contract.reports import EvaluatorReport, ReportedFailure
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, ago, evaluator_report, make_ended, make_evaluator, make_evaluator_pod
from support.decision_table import action_word, assert_cell, observation_in, row, status_in

EVALUATION = {"claimName": "sets", "sets": ["lfw"]}
GATED = {"evaluation": {**EVALUATION, "gates": [{"metric": "lfw.accuracy", "min": 0.99}]}}
RANKS = (make_ended(0), make_ended(1))
REPORT = evaluator_report(0.99)
DONE = make_evaluator_pod(0, REPORT)
RUNS = make_evaluator_pod(None)


def evaluator(
    name: str, evaluating: str, *pods: PodView, ended: str = "", spec: Any = None, **fields: Any
) -> list[Any]:
    """A row about an evaluator and its pods, beside ranks that have ended well."""
    seen = {"evaluator": make_evaluator(**fields), "pods": (*RANKS, *pods)}
    # The evaluator may be there before the operator has noticed that the ranks are done: somebody else was faster.
    gang = f"Evaluating !Training=Trained {evaluating}"
    if evaluating.startswith(("Succeeded", "Failed")):
        gang = f"{evaluating} !Training=Trained"
    suspended = "+resume delete:0,1"
    return row(
        name, seen, spec=spec, waiting="Starting", suspended=suspended, gang=gang, evaluating=evaluating, ended=ended
    )


SUCCEEDED = "Succeeded Evaluated=Evaluated Complete=Succeeded !Failed=Succeeded"
MISSED = "Failed Evaluated=Evaluated !GatesPassed=GateMissed Failed=GateMissed !Complete=GateMissed"
NO_REPORT = "Failed !Evaluated=NoReport Failed=EvaluationFailed"
FAILED = "Failed !Evaluated=EvaluationFailed Failed=EvaluationFailed !Complete=EvaluationFailed"
MISSING = make_evaluator_pod(2, "no such file")
ROWS = [
    *evaluator("runs", "", RUNS, ended="delete:evaluator"),
    *evaluator("waits for its pod", "", ended="delete:evaluator"),
    *evaluator("leaves", "", RUNS, is_leaving=True),
    *evaluator("failed and leaves", "", MISSING, failure="BackoffLimitExceeded: 3", is_leaving=True),
    *evaluator("complete", SUCCEEDED, DONE, is_complete=True),
    *evaluator("gate passed", f"{SUCCEEDED} GatesPassed=Passed", DONE, is_complete=True, spec=GATED),
    *evaluator("gate missed", MISSED, make_evaluator_pod(0, evaluator_report(0.98)), is_complete=True, spec=GATED),
    *evaluator("garbage", NO_REPORT, make_evaluator_pod(0, "Killed\n"), is_complete=True),
    *evaluator("report of another process", NO_REPORT, make_evaluator_pod(0, '{"progress":null}'), is_complete=True),
    *evaluator("report without results", NO_REPORT, make_evaluator_pod(0, "{}"), is_complete=True),
    *evaluator(
        "report without one set",
        NO_REPORT,
        DONE,
        is_complete=True,
        spec={"evaluation": {**EVALUATION, "sets": ["lfw", "calfw"]}},
    ),
    *evaluator("pod vanished", "delete:evaluator", is_complete=True),
    *evaluator("end of its pod not heard of yet", "", RUNS, is_complete=True),
    *evaluator(
        "pod of an evaluator before",
        "delete:evaluator",
        make_evaluator_pod(0, REPORT, owner="another"),
        is_complete=True,
    ),
    *evaluator("of an older evaluation", "delete:evaluator", DONE, is_complete=True, evaluation_hash="old"),
    *evaluator("of an older evaluation leaves", "", DONE, evaluation_hash="old", is_leaving=True),
    *evaluator("failed", f"{FAILED} failure:InvalidInput", MISSING, failure="PodFailurePolicy: exit code 2"),
    *evaluator("failed without a trace", f"{FAILED} failure:EvaluationFailed", failure="BackoffLimitExceeded: 3"),
    *evaluator("a retry runs", "", make_evaluator_pod(1, name="quick-evaluate-1"), RUNS, ended="delete:evaluator"),
    *evaluator(
        "outlived by a sidecar", SUCCEEDED, make_evaluator_pod(0, REPORT, phase="Running"), ended="delete:evaluator"
    ),
    *evaluator(
        "failed and outlived by a sidecar",
        f"{FAILED} failure:InvalidInput",
        make_evaluator_pod(2, "no such file", phase="Running"),
        ended="delete:evaluator",
    ),
    *row(
        "refused",
        {"evaluator": None, "refusal": "Job quick-evaluate: denied"},
        waiting="!Ready=Refused apply:service,config create:0,1",
        evaluating="!Evaluated=Refused apply:config create:evaluator",
    ),
    *row(
        "not asked for",
        {"pods": RANKS, "evaluator": None},
        spec={"evaluation": None},
        waiting="Starting",
        suspended="+resume delete:0,1",
        gang="Succeeded Complete=Succeeded !Training=Trained",
        evaluating="Succeeded Complete=Succeeded",
    ),
    *row(
        "no longer asked for",
        {"pods": RANKS, "evaluator": make_evaluator(evaluation_hash="old")},
        spec={"evaluation": None},
        waiting="Starting",
        suspended="+resume delete:0,1",
        gang="Succeeded Complete=Succeeded !Training=Trained",
        evaluating="Succeeded Complete=Succeeded",
        ended="delete:evaluator",
    ),
]


@pytest.mark.parametrize(("phase", "seen", "spec", "status", "cell"), ROWS)
def test_cell(phase: Any, seen: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], cell: str) -> None:
    before = status_in(phase, **status)
    fields = {"workers": {"replicas": 2}, "evaluation": EVALUATION, **spec}
    job = make_job(**fields).model_copy(update={"status": before})
    assert_cell(decide(observation_in(phase, job, seen), SETTINGS, NOW), cell, before)


def status_after(*pods: PodView, spec: Any = None, **fields: Any) -> Any:
    job = make_job(**{"workers": {"replicas": 2}, "evaluation": EVALUATION, **(spec or {})})
    job = job.model_copy(update={"status": status_in("Evaluating")})
    seen = {"evaluator": make_evaluator(**fields), "pods": pods}
    return decide(observation_in("Evaluating", job, seen), SETTINGS, NOW).status


def test_results_and_gates_are_written_down() -> None:
    found = status_after(DONE, is_complete=True, spec=GATED).evaluation
    assert found.checkpoint == "step-100"
    assert [(result.dataset, result.accuracy, result.pairs) for result in found.results] == [("lfw", 0.99, 600)]
    assert [(gate.metric, gate.min, gate.value, gate.passed) for gate in found.gates] == [
        ("lfw.accuracy", 0.99, 0.99, True)
    ]


def test_a_missed_gate_fails_the_job_with_its_figures_and_keeps_the_results() -> None:
    status = status_after(make_evaluator_pod(0, evaluator_report(0.98)), is_complete=True, spec=GATED)
    (failed,) = [item for item in status.conditions if item.type == "Failed"]
    assert failed.message == "gate lfw.accuracy: 0.98000, needs 0.99"
    assert status.evaluation.results[0].accuracy == 0.98


def test_an_evaluation_that_failed_half_way_keeps_what_it_had_found() -> None:
    failed = ReportedFailure(reason="InvalidInput", message="5.jpg does not decode", exit_code=2)
    report = EvaluatorReport.from_json(evaluator_report(0.99), "report").model_copy(update={"failure": failed})
    status = status_after(make_evaluator_pod(2, report.to_json()), failure="PodFailurePolicy: exit code 2", spec=GATED)
    assert (status.phase, status.failure.message) == ("Failed", "pod quick-evaluate-x: 5.jpg does not decode")
    assert [(result.dataset, result.accuracy) for result in status.evaluation.results] == [("lfw", 0.99)]
    assert status.evaluation.gates == []


def test_a_report_must_tell_of_every_release() -> None:
    status = status_after(DONE, is_complete=True, spec={"evaluation": {**EVALUATION, "ijb": ["IJBC"]}})
    assert status.phase == "Failed"
    assert "reports no result for IJBC" in next(item.message for item in status.conditions if item.type == "Evaluated")


def test_results_are_those_of_the_newest_pod_that_ended_well() -> None:
    old = make_evaluator_pod(0, evaluator_report(0.5), created=ago(500))
    failed = make_evaluator_pod(1, "lost its device", created=ago(40))
    assert status_after(failed, DONE, old, is_complete=True).evaluation.results[0].accuracy == 0.99


def test_the_last_failed_pod_says_why_the_evaluation_failed() -> None:
    first = make_evaluator_pod(1, "first", created=ago(500), name="quick-evaluate-1")
    last = make_evaluator_pod(1, "no lfw.bin", created=ago(400), name="quick-evaluate-2", node="node-7")
    failure = status_after(last, first, failure="BackoffLimitExceeded: three pods have failed").failure
    assert (failure.pod, failure.node, failure.exit_code) == ("quick-evaluate-2", "node-7", 1)
    assert failure.log == ["no lfw.bin"]
    assert failure.rank is None


def waits(reason: str | None, seconds: float, **fields: Any) -> PodView:
    return make_evaluator_pod(None, phase="Pending", waiting=reason, created=ago(seconds), **fields)


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        pytest.param(
            waits("ImagePullBackOff: no such image", 60), "pod quick-evaluate-x: ImagePullBackOff: no such image"
        ),
        pytest.param(waits("ContainerCreating", 60), "evaluating lfw"),
        pytest.param(waits(None, 60), "evaluating lfw"),
        pytest.param(RUNS, "evaluating lfw"),
    ],
)
def test_the_condition_says_what_the_evaluator_waits_for(pod: PodView, message: str) -> None:
    (evaluated,) = [item for item in status_after(pod).conditions if item.type == "Evaluated"]
    assert (evaluated.status, evaluated.message) == ("False", message)


def podless(since: float | None, **fields: Any) -> Any:
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION).model_copy(
        update={"status": status_in("Evaluating")}
    )
    seen = {"evaluator": make_evaluator(**fields), "pods": (), "podless_since": None if since is None else ago(since)}
    return decide(observation_in("Evaluating", job, seen), SETTINGS, NOW)


def test_an_evaluator_without_a_pod_says_so_and_is_given_up_in_time() -> None:
    def message(plan: Any) -> str:
        (evaluated,) = [item for item in plan.status.conditions if item.type == "Evaluated"]
        return str(evaluated.message)

    assert message(podless(2)) == "evaluating lfw"
    assert podless(2).look_again_seconds == SETTINGS.check_seconds - 2
    assert message(podless(60)).startswith("its Job has no pod")
    assert podless(60).look_again_seconds == 1740
    assert podless(1800).status.failure.reason == "StartupDeadlineExceeded"
    assert podless(None).status.phase == "Evaluating"
    held_back = podless(90_000, is_suspended=True)
    assert (held_back.status.phase, message(held_back)) == ("Evaluating", "the queue has not let the evaluator in")


def beside_sidecar(code: int, **fields: Any) -> PodView:
    """The evaluator has ended a minute ago, its sidecar lives on."""
    return make_evaluator_pod(code, phase="Running", **fields)


@pytest.mark.parametrize(
    ("pod", "phase", "actions"),
    [
        pytest.param(beside_sidecar(1), "Evaluating", ["delete:x"], id="retried by Kubernetes once it is gone"),
        pytest.param(beside_sidecar(1, leaves_at=ago(-30)), "Evaluating", [], id="is leaving"),
        pytest.param(beside_sidecar(143, is_disrupted=True, leaves_at=ago(-30)), "Evaluating", [], id="drained"),
        pytest.param(beside_sidecar(2), "Failed", [], id="never retried"),
    ],
)
def test_an_evaluator_that_failed_beside_a_sidecar(pod: PodView, phase: str, actions: list[str]) -> None:
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION).model_copy(
        update={"status": status_in("Evaluating")}
    )
    plan = decide(observation_in("Evaluating", job, {"evaluator": make_evaluator(), "pods": (pod,)}), SETTINGS, NOW)
    assert plan.status.phase == phase
    assert [text for action in plan.actions if (text := action_word(action))] == actions


def test_an_evaluator_that_does_not_start_in_time_fails_the_job_and_says_why() -> None:
    status = status_after(waits("Unschedulable: no node has a device left", 1800))
    assert (status.phase, status.failure.reason) == ("Failed", "StartupDeadlineExceeded")
    assert status.failure.message == (
        "the evaluation has not begun after startupDeadlineSeconds 1800: "
        "pod quick-evaluate-x: Unschedulable: no node has a device left"
    )
    assert status_after(waits("Unschedulable: ", 1799)).phase == "Evaluating"
    assert status_after(waits(None, 1800, is_gated=True)).phase == "Evaluating"


def test_a_missed_gate_is_the_failure_whatever_was_cured_before() -> None:
    status = status_after(make_evaluator_pod(0, evaluator_report(0.98)), is_complete=True, spec=GATED)
    assert status.failure.reason == "GateMissed"


def test_an_evaluator_that_has_just_ended_gets_a_moment_to_be_counted_by_kubernetes() -> None:
    job = make_job(evaluation=EVALUATION).model_copy(update={"status": status_in("Evaluating")})
    ended = make_evaluator_pod(0, REPORT, phase="Running")
    assert ended.ended is not None
    at = {"ended": type(ended.ended)(0, "Completed", REPORT, ago(2))}
    seen = {"evaluator": make_evaluator(), "pods": (make_evaluator_pod(0, REPORT, phase="Running", **at),)}
    plan = decide(observation_in("Evaluating", job, seen), SETTINGS, NOW)
    assert (plan.status.phase, plan.look_again_seconds) == ("Evaluating", 3.0)
