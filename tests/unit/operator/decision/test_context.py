"""Conditions and events: what a user is told of a job."""

import re
from typing import Any, get_type_hints

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import DecisionContext, StatusChanges, condition, true_since
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import Observation
from arcface_operator.decision.plan import EmitEvent
from support.builders.jobs import make_job
from support.builders.views import (
    NOW,
    SETTINGS,
    ago,
    evaluator_report,
    make_ended,
    make_evaluator,
    make_report,
    make_worker,
    stored,
)
from support.decision_table import observation_in, status_in


def context(status: ArcFaceTrainingJobStatus | None = None, now: Any = NOW) -> DecisionContext:
    job = make_job()
    metadata = job.metadata.model_copy(update={"generation": 4})
    return DecisionContext(
        Observation(job=job.model_copy(update={"metadata": metadata})), status or status_in(None), SETTINGS, now
    )


def reason_of(reason: str) -> str:
    found = condition(context().with_condition("Ready", truth=False, reason=reason).status, "Ready")
    return found.reason if found is not None else ""


def test_a_condition_carries_its_generation_and_the_time_of_its_change() -> None:
    found = condition(context().with_condition("Ready", truth=True, reason="Ready", message="go").status, "Ready")
    assert found is not None
    assert (found.status, found.reason, found.message) == ("True", "Ready", "go")
    assert (found.observed_generation, found.last_transition_time) == (4, NOW)


def test_its_time_changes_only_with_its_truth() -> None:
    first = context(now=ago(60)).with_condition("Ready", truth=False, reason="ClaimMissing")
    same = context(first.status).with_condition("Ready", truth=False, reason="DevicesMissing")
    other = context(same.status).with_condition("Ready", truth=True, reason="Ready")
    found = [condition(item.status, "Ready") for item in (first, same, other)]
    assert [item.last_transition_time for item in found if item is not None] == [ago(60), ago(60), NOW]
    assert true_since(first.status, "Ready") is None
    assert true_since(same.status, "Ready") is None
    assert true_since(other.status, "Ready") == NOW
    assert true_since(other.status, "Training") is None


def test_conditions_are_kept_in_one_order_and_once_each() -> None:
    some = context()
    for kind in ("Training", "Complete", "Ready", "Training"):
        some = some.with_condition(kind, truth=True, reason="R")
    assert [item.type for item in some.status.conditions] == ["Complete", "Ready", "Training"]


def test_a_long_message_is_cut() -> None:
    found = condition(context().with_condition("Ready", truth=True, reason="R", message="x" * 99_999).status, "Ready")
    assert found is not None
    assert len(found.message) == 1024


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("OutOfhuawei.com/Ascend910", "OutOfhuaweicomAscend910"),
        ("Evicted", "Evicted"),
        ("", "Unknown"),
        ("9lives", "lives"),
        ("żółw", "w"),
        ("123", "Unknown"),
    ],
)
def test_any_word_of_the_cluster_becomes_a_reason(reason: str, expected: str) -> None:
    assert reason_of(reason) == expected


@given(st.text(max_size=300))
def test_no_word_breaks_a_condition(reason: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", reason_of(reason))
    status = context().with_condition("Training", truth=False, reason=reason).status
    assert stored(status) == status


@pytest.mark.parametrize(
    ("phase", "seen", "spec", "event"),
    [
        pytest.param(
            None,
            {},
            {},
            EmitEvent(type="Normal", reason="Pending", message="waiting for storage, devices and pods"),
            id="begins",
        ),
        pytest.param(
            "Pending",
            {"pods": (make_worker(0), make_worker(1))},
            {},
            EmitEvent(type="Normal", reason="Starting", message="all pods of attempt 2 have nodes"),
            id="starts",
        ),
        pytest.param(
            "Starting",
            {"report": make_report(1)},
            {},
            EmitEvent(type="Normal", reason="Training", message="attempt 2 trains"),
            id="trains",
        ),
        pytest.param(
            "Training",
            {"pods": (make_ended(0, code=1, at=ago(9)), make_ended(1, code=1))},
            {},
            EmitEvent(
                type="Warning", reason="Restarting", message="attempt 3 follows: pod quick-worker-1: exit code 1"
            ),
            id="restarts",
        ),
        pytest.param(
            "Training",
            {"pods": (make_worker(0), make_ended(1, code=1))},
            {},
            EmitEvent(
                type="Warning",
                reason="Restarting",
                message="the ranks of attempt 2 start anew in theirs and a new pod 1: pod quick-worker-1: exit code 1",
            ),
            id="restarts with a new pod",
        ),
        pytest.param(
            "Training",
            {"pods": (make_worker(0), make_ended(1, code=3))},
            {},
            EmitEvent(type="Warning", reason="Diverged", message="pod quick-worker-1: exit code 3"),
            id="fails",
        ),
        pytest.param(
            "Evaluating",
            {"evaluator": make_evaluator(0, evaluator_report())},
            {"evaluation": {"claimName": "sets", "sets": ["lfw"]}},
            EmitEvent(type="Normal", reason="Succeeded", message="the job is done"),
            id="succeeds",
        ),
        pytest.param("Training", {}, {"suspend": True}, None, id="is about to be suspended"),
        pytest.param(
            "Training",
            {"pods": (make_ended(0, code=143), make_ended(1, code=143))},
            {"suspend": True},
            EmitEvent(
                type="Normal",
                reason="Suspended",
                message="the pods are removed, the newest complete checkpoint is kept",
            ),
            id="is suspended",
        ),
        pytest.param("Training", {}, {}, None, id="goes on"),
        pytest.param("Succeeded", {}, {}, None, id="has ended"),
    ],
)
def test_a_change_of_phase_is_announced(phase: Any, seen: Any, spec: Any, event: EmitEvent | None) -> None:
    job = make_job(workers={"replicas": 2}, **spec).model_copy(update={"status": status_in(phase)})
    plan = decide(observation_in(phase, job, seen), SETTINGS, NOW)
    assert [action for action in plan.actions if isinstance(action, EmitEvent)] == ([] if event is None else [event])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"phse": "Failed"}, id="no such field"),
        pytest.param({"attempt": "three"}, id="text for a number"),
        pytest.param({"phase": "Finished"}, id="no such phase"),
        pytest.param({"failure": "of a pod"}, id="text for a failure"),
        pytest.param({"conditions": None}, id="nothing for a list"),
    ],
)
def test_a_change_that_a_status_cannot_hold_is_refused(changes: Any) -> None:
    """Mypy refuses the same: `with_status` takes `StatusChanges`."""
    with pytest.raises(ValidationError):
        context().with_status(**changes)


def test_the_types_of_changes_are_those_of_the_status() -> None:
    assert get_type_hints(StatusChanges) == get_type_hints(ArcFaceTrainingJobStatus)
