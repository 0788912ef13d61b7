"""What Prometheus is told of jobs."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from arcface_api.resource.status import Condition, EvaluationStatus, GateResult, IjbResult, PairResult
from arcface_operator.controller.job_metrics import FAMILIES, JobCollector
from arcface_operator.decision.decide import decide
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, ago, make_report, make_worker, stored
from support.decision_table import observation_in, status_in

JOB = {"namespace": "faces", "name": "r100"}
NO_ROOM = {"phase": "Pending", "is_ready": False, "address": None, "node": None}


def job(status: dict[str, Any] | None = None, **workers: Any) -> dict[str, Any]:
    document = {"metadata": JOB, "spec": {"workers": workers}}
    return document if status is None else {**document, "status": status}


def registry(*jobs: dict[str, Any]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(JobCollector(lambda: jobs))
    return made


def value(document: dict[str, Any], name: str, **labels: str) -> float | None:
    return registry(document).get_sample_value(f"arcface_job_{name}", {**JOB, **labels})


def test_a_job_is_in_one_phase_and_not_in_the_others() -> None:
    training = job({"phase": "Training"})
    assert value(training, "phase", phase="Training") == 1
    assert value(training, "phase", phase="Failed") == 0


def test_a_job_that_was_never_looked_at_says_nothing_wrong() -> None:
    fresh = job()
    samples = [sample for family in registry(fresh).collect() for sample in family.samples]
    assert {sample.value for sample in samples} == {0.0}
    assert {sample.name for sample in samples} == {
        "arcface_job_phase",
        "arcface_job_workers",
        "arcface_job_devices",
        "arcface_job_restarts_total",
        "arcface_job_restarts_capped",
        "arcface_job_unreadable",
    }


def test_restarts_are_capped_by_the_condition_while_the_job_lasts() -> None:
    capped = {"type": "RestartsCapped", "status": "True"}
    assert value(job({"conditions": [capped]}), "restarts_capped") == 1
    assert value(job({"conditions": [{**capped, "status": "False"}]}), "restarts_capped") == 0
    ended = job({"conditions": [capped], "completionTime": "2026-01-01T00:00:00Z"})
    assert value(ended, "restarts_capped") is None


def not_ready(reason: str) -> dict[str, str]:
    since = "2026-01-01T00:00:00Z"
    return {"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": since}


def queued_since(seconds: float) -> Condition:
    return Condition(type="Ready", status="False", reason="Queued", message="", last_transition_time=ago(seconds))


@pytest.mark.parametrize("phase", ["Pending", "Queued", "Restarting"])
def test_a_job_that_waits_tells_since_when_and_for_what(phase: str) -> None:
    waits = job({"phase": phase, "conditions": [not_ready("ClaimMissing")]})
    assert value(waits, "waiting_start_timestamp_seconds", phase=phase, reason="ClaimMissing") == 1767225600
    goes_on = job({"phase": phase, "conditions": [{**not_ready("Ready"), "status": "True"}]})
    assert value(goes_on, "waiting_start_timestamp_seconds", phase=phase, reason="Ready") is None


@pytest.mark.parametrize("phase", ["Suspended", "Training", "Failed"])
def test_a_job_that_does_not_want_to_start_waits_for_nothing(phase: str) -> None:
    told = job({"phase": phase, "conditions": [not_ready("Refused")]})
    assert value(told, "waiting_start_timestamp_seconds", phase=phase, reason="Refused") is None


def test_a_suspension_is_none_of_the_wait() -> None:
    """The operator's decisions from one queue, through two days at rest, to the next."""
    status = status_in("Queued", conditions=[queued_since(180_000)], start_time=ago(180_000))
    without_room = (make_worker(0, **NO_ROOM), make_worker(1, **NO_ROOM))
    looks: list[Any] = [
        ("Queued", True, (), 172_800),
        ("Suspended", False, (), 60),
        ("Pending", False, without_room, 50),
    ]
    for phase, suspend, pods, seconds in looks:
        assert status.phase == phase
        looked_at = make_job(workers={"replicas": 2}, suspend=suspend).model_copy(update={"status": status})
        status = decide(observation_in(phase, looked_at, {"pods": pods}), SETTINGS, ago(seconds)).status
    told = job(json.loads(status.to_json()))
    assert value(told, "waiting_start_timestamp_seconds", phase="Queued", reason="Queued") == ago(60).timestamp()


def test_what_the_operator_decides_of_a_job_without_pods_is_read_as_waiting() -> None:
    """The words of the decision and of the metric are the same ones."""
    waiting = make_job().model_copy(update={"status": status_in("Pending")})
    told = job(json.loads(decide(observation_in("Pending", waiting, {}), SETTINGS, ago(0)).status.to_json()))
    named = {sample.name for family in registry(told).collect() for sample in family.samples}
    assert "arcface_job_waiting_start_timestamp_seconds" in named


def test_a_job_that_cannot_be_read_is_told_from_one_that_waits() -> None:
    assert value(job({"phase": "Training", "conditions": [not_ready("Unreadable")]}), "unreadable") == 1
    assert value(job({"phase": "Pending", "conditions": [not_ready("ClaimMissing")]}), "unreadable") == 0


def test_a_job_that_is_gone_is_gone() -> None:
    jobs = [job({"phase": "Training"})]
    made = CollectorRegistry()
    made.register(JobCollector(lambda: jobs))
    jobs.clear()
    assert [sample for family in made.collect() for sample in family.samples] == []


@pytest.mark.parametrize(("policy", "held"), [("Running", 0), ("All", 0), ("None", 24)])
def test_a_job_that_has_ended_holds_devices_only_where_its_pods_stay(policy: str, held: int) -> None:
    ended = job({"workers": {"ready": 3}, "completionTime": "2026-01-01T00:00:00Z"}, devicesPerWorker=8)
    ended["spec"]["runPolicy"] = {"cleanPodPolicy": policy}
    assert value(ended, "devices", accelerator="ascend") == held


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        pytest.param("workers", {"state": "ready"}, 3, id="pods"),
        pytest.param("devices", {"accelerator": "ascend"}, 24, id="devices"),
        pytest.param("restarts_total", {}, 2, id="restarts"),
        pytest.param("queue_seconds", {}, 90, id="queue"),
        pytest.param("startup_seconds", {}, 150, id="start-up"),
        pytest.param("training_start_timestamp_seconds", {}, 1767225900, id="trains since"),
        pytest.param("checkpoint_timestamp_seconds", {}, 1767229200, id="checkpoint"),
        pytest.param("rank_table_ranks", {"state": "total"}, 32, id="rank table"),
        pytest.param("failed", {"reason": "GateMissed"}, 1, id="failure"),
        pytest.param("evaluation_accuracy", {"dataset": "lfw"}, 0.998, id="accuracy"),
        pytest.param("evaluation_tar", {"dataset": "IJBC", "far": "1e-4"}, 0.9587, id="rate"),
        pytest.param("gate_passed", {"metric": "lfw.accuracy"}, 0, id="gate"),
    ],
)
def test_figures_come_from_the_status(name: str, labels: dict[str, str], expected: float) -> None:
    status = {
        "phase": "Failed",
        "startTime": "2026-01-01T00:00:00Z",
        "runningTime": "2026-01-01T00:01:30Z",
        "trainingTime": "2026-01-01T00:02:30Z",
        "restarts": 2,
        "workers": {"desired": 4, "ready": 3},
        "conditions": [
            {"type": "Training", "status": "True", "reason": "Training", "lastTransitionTime": "2026-01-01T00:05:00Z"},
            {"type": "Failed", "status": "True", "reason": "GateMissed", "lastTransitionTime": "2026-01-01T02:00:00Z"},
        ],
        "checkpoint": {"savedAt": "2026-01-01T01:00:00Z"},
        "rankTable": {"ready": 24, "total": 32},
        "evaluation": {
            "results": [{"dataset": "lfw", "accuracy": 0.998}],
            "ijb": [{"dataset": "IJBC", "tarAtFar": {"1e-4": 0.9587}}],
            "gates": [{"metric": "lfw.accuracy", "passed": False}],
        },
    }
    assert value(job(status, accelerator="ascend", devicesPerWorker=8), name, **labels) == expected


def test_the_status_has_the_fields_that_are_read() -> None:
    """The collector reads plain JSON: names that the types do not have would be absent for ever."""
    evaluation = EvaluationStatus(
        checkpoint="step-00000010",
        results=[PairResult(dataset="lfw", accuracy=0.9, std=0.1, pairs=600)],
        ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-4": 0.5})],
        gates=[GateResult(metric="lfw.accuracy", min=0.95, value=0.9, passed=False)],
    )
    times = {"running_time": ago(100), "training_time": ago(50)}
    status = stored(status_in("Training", evaluation=evaluation, **times))
    told = job(json.loads(status.to_json()))
    named = {sample.name for family in registry(told).collect() for sample in family.samples}
    made = {f"arcface_job_{name}" for name in ("queue_seconds", "startup_seconds", "evaluation_tar", "gate_passed")}
    assert made <= named


@pytest.mark.parametrize(
    "status",
    [
        {"evaluation": {"results": [{"dataset": "lfw", "score": 0.9}], "ijb": [{}], "gates": ["passed"]}},
        {"conditions": [{"kind": "Training"}, None]},
        {"workers": ["ready"], "rankTable": "completed", "checkpoint": {"savedAt": "yesterday"}},
        {"restarts": "two", "startTime": 5, "runningTime": "2026-01-01T00:01:30Z"},
    ],
)
def test_one_job_that_a_newer_release_writes_otherwise_costs_no_figures_of_others(status: dict[str, Any]) -> None:
    other = {**job({"phase": "Training", "restarts": 2}), "metadata": {**JOB, "name": "r50"}}
    made = registry(job({"phase": "Training", **status}), other)
    assert b'name="r50"' in generate_latest(made)
    assert made.get_sample_value("arcface_job_restarts_total", {**JOB, "name": "r50"}) == 2
    assert made.get_sample_value("arcface_job_phase", {**JOB, "phase": "Training"}) == 1


@pytest.mark.parametrize(("state", "shown"), [("True", 1.0), ("False", 0.0), ("Unknown", None)])
def test_whether_rank_0_answers_is_shown_where_it_is_known(state: str, shown: float | None) -> None:
    told = job({"conditions": [{"type": "Reachable", "status": state}]})
    assert value(told, "reachable") == shown


def test_times_are_kept_from_the_first_moment_on() -> None:
    halves = {"pods": (make_worker(0), make_worker(1, phase="Pending", is_ready=False))}
    whole = {"pods": (make_worker(0), make_worker(1, is_ready=False))}  # its sidecar is not ready
    status = status_in("Starting")
    for seen, now, runs in ((halves, ago(20), None), (whole, ago(10), ago(10)), (halves, ago(5), ago(10))):
        job = make_job(workers={"replicas": 2}).model_copy(update={"status": status})
        status = decide(observation_in("Starting", job, seen), SETTINGS, now).status
        assert (status.running_time, status.training_time) == (runs, None)
    report = make_report(3, updated_at=ago(4))
    for now in (ago(3), ago(2)):
        job = make_job(workers={"replicas": 2}).model_copy(update={"status": status})
        status = decide(observation_in("Training", job, {**whole, "report": report}), SETTINGS, now).status
    assert (status.phase, status.running_time, status.training_time) == ("Training", ago(10), ago(3))


def test_names_and_texts_are_unique_and_complete() -> None:
    assert len({family.name for family in FAMILIES}) == len({family.text for family in FAMILIES}) == len(FAMILIES)
    assert all(family.text.endswith(".") for family in FAMILIES)
