"""Conditions and events: what a user is told of a job."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.conditions import condition, true_since, with_condition, word
from arcface_operator.decision.context import Case
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import Observation
from arcface_operator.decision.plan import Announce
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_report, make_worker, stored
from support.decision_table import observation_in, status_in


def case(status: ArcFaceTrainingJobStatus | None = None, now: Any = NOW) -> Case:
    job = make_job()
    metadata = job.metadata.model_copy(update={"generation": 4})
    return Case(
        Observation(job=job.model_copy(update={"metadata": metadata})), status or status_in(None), SETTINGS, now
    )


def test_a_condition_carries_its_generation_and_the_time_of_its_change() -> None:
    found = condition(with_condition(case(), "Ready", truth=True, reason="Ready", message="go").status, "Ready")
    assert found is not None
    assert (found.status, found.reason, found.message) == ("True", "Ready", "go")
    assert (found.observed_generation, found.last_transition_time) == (4, NOW)


def test_its_time_changes_only_with_its_truth() -> None:
    first = with_condition(case(now=ago(60)), "Ready", truth=False, reason="ClaimMissing")
    same = with_condition(case(first.status), "Ready", truth=False, reason="DevicesMissing")
    other = with_condition(case(same.status), "Ready", truth=True, reason="Ready")
    found = [condition(item.status, "Ready") for item in (first, same, other)]
    assert [item.last_transition_time for item in found if item is not None] == [ago(60), ago(60), NOW]
    assert true_since(first.status, "Ready") is None
    assert true_since(same.status, "Ready") is None
    assert true_since(other.status, "Ready") == NOW
    assert true_since(other.status, "Training") is None


def test_conditions_are_kept_in_one_order_and_once_each() -> None:
    some = case()
    for kind in ("Training", "Complete", "Ready", "Training"):
        some = with_condition(some, kind, truth=True, reason="R")
    assert [item.type for item in some.status.conditions] == ["Complete", "Ready", "Training"]


def test_a_long_message_is_cut() -> None:
    found = condition(with_condition(case(), "Ready", truth=True, reason="R", message="x" * 99_999).status, "Ready")
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
    assert word(reason) == expected


@given(st.text(max_size=300))
def test_no_word_breaks_a_condition(reason: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", word(reason))
    status = with_condition(case(), "Training", truth=False, reason=reason).status
    assert stored(status) == status


@pytest.mark.parametrize(
    ("phase", "seen", "spec", "event"),
    [
        pytest.param(
            None,
            {},
            {},
            Announce(type="Normal", reason="Pending", message="waiting for storage, devices and pods"),
            id="begins",
        ),
        pytest.param(
            "Pending",
            {"pods": (make_worker(0), make_worker(1))},
            {},
            Announce(type="Normal", reason="Starting", message="all 2 pods of attempt 2 exist"),
            id="starts",
        ),
        pytest.param(
            "Starting",
            {"report": make_report(1)},
            {},
            Announce(type="Normal", reason="Training", message="attempt 2 trains"),
            id="trains",
        ),
        pytest.param(
            "Training",
            {"pods": (make_worker(0), make_ended(1, code=1))},
            {},
            Announce(type="Warning", reason="Restarting", message="attempt 3 follows: pod quick-worker-1: exit code 1"),
            id="restarts",
        ),
        pytest.param(
            "Training",
            {"pods": (make_worker(0), make_ended(1, code=3))},
            {},
            Announce(type="Warning", reason="Diverged", message="pod quick-worker-1: exit code 3"),
            id="fails",
        ),
        pytest.param(
            "Evaluating",
            {},
            {},
            Announce(type="Normal", reason="Succeeded", message="the job is done"),
            id="succeeds",
        ),
        pytest.param(
            "Training",
            {},
            {"suspend": True},
            Announce(
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
def test_a_change_of_phase_is_announced(phase: Any, seen: Any, spec: Any, event: Announce | None) -> None:
    job = make_job(workers={"replicas": 2}, **spec).model_copy(update={"status": status_in(phase)})
    plan = decide(observation_in(phase, job, seen), SETTINGS, NOW)
    assert [action for action in plan.actions if isinstance(action, Announce)] == ([] if event is None else [event])
