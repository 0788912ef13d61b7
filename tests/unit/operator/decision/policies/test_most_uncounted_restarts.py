"""Faults that are nobody's are excused so many times within a while, and count from then on."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import EmitEvent, Plan
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, make_ended, make_worker, stored
from support.decision_table import observation_in, status_in

CAP = SETTINGS.most_uncounted_restarts
FEW = SETTINGS.model_copy(update={"most_uncounted_restarts": 3, "uncounted_restarts_seconds": 600})
EVICTED: dict[str, Any] = {"code": None, "reason": "Evicted"}


class Fate:
    """A job that trains, whose pods are struck again and again."""

    def __init__(self, settings: Any = SETTINGS, backoff_limit: int = 3, **policy: Any) -> None:
        self.job = make_job(workers={"replicas": 2}, runPolicy={"backoffLimit": backoff_limit, **policy})
        self.settings = settings
        self.now = NOW
        self.status = status_in("Training", attempt=0, restarts=0, counted_restarts=0, failure=None)

    def strike(self, after: float = 60.0, **end: Any) -> Plan:
        """Some time passes, then a pod comes to such an end."""
        self.now += timedelta(seconds=after)
        pods = (make_ended(0, **(end or EVICTED), at=self.now - timedelta(seconds=30)), make_worker(1))
        plan = self.look({"pods": pods})
        if plan.status.phase == "Restarting":
            self.status = plan.status.model_copy(update={"phase": "Training"})
        return plan

    def look(self, seen: dict[str, Any]) -> Plan:
        """A decision, and what is stored of it."""
        job = self.job.model_copy(update={"status": self.status})
        plan = decide(observation_in("Training", job, seen), self.settings, self.now)
        self.status = stored(plan.status)
        return plan


def is_capped(status: ArcFaceTrainingJobStatus) -> str | None:
    found = condition(status, "RestartsCapped")
    return None if found is None else f"{found.status} {found.reason}"


def warnings(plan: Plan) -> list[str]:
    return [event.reason for event in plan.actions if isinstance(event, EmitEvent) and event.type == "Warning"]


def test_two_hundred_evictions_in_a_row_come_to_an_end() -> None:
    fate = Fate()
    restarts = 0
    while fate.strike().status.phase != "Failed":
        restarts += 1
        assert restarts < 200
    assert restarts == CAP + 3
    failed = condition(fate.status, "Failed")
    assert failed is not None
    assert failed.reason == "BackoffLimitExceeded"
    assert "Evicted" in failed.message
    assert is_capped(fate.status) == "False Ended"


def test_the_one_too_many_counts_and_is_told_once() -> None:
    fate = Fate(FEW)
    for _ in range(3):
        assert warnings(fate.strike()) == ["Restarting"]
    assert (fate.status.counted_restarts, is_capped(fate.status)) == (0, None)
    assert warnings(fate.strike()) == ["TooManyRestarts", "Restarting"]
    assert (fate.status.counted_restarts, is_capped(fate.status)) == (1, "True TooManyRestarts")
    assert warnings(fate.strike()) == ["Restarting"]
    told = condition(fate.status, "RestartsCapped")
    assert told is not None
    assert told.message.startswith("3 restarts within 600 s did not count; until they are past, each counts against ")


def test_once_they_are_past_faults_are_excused_again() -> None:
    fate = Fate(FEW)
    for _ in range(4):
        fate.strike(after=100)
    fate.now += timedelta(seconds=301)
    fate.look({})
    assert is_capped(fate.status) == "False Past"
    fate.strike(after=1)
    assert (fate.status.counted_restarts, fate.status.restarts) == (1, 5)


def test_a_steady_rate_below_the_cap_goes_on_for_ever() -> None:
    fate = Fate(FEW)
    for _ in range(100):
        assert fate.strike(after=201).status.phase == "Restarting"
    assert fate.status.counted_restarts == 0
    assert len(fate.status.uncounted_restart_times) == 3


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "Preempting"])
def test_a_job_that_makes_room_for_others_is_never_counted_for_it(reason: str) -> None:
    fate = Fate(FEW)
    pods = (replace(make_ended(0, code=137, is_disrupted=True), reason=reason), make_worker(1))
    for _ in range(50):
        fate.look({"pods": pods})
        fate.status = fate.status.model_copy(update={"phase": "Training", "attempt": 0})
    assert (fate.status.restarts, fate.status.counted_restarts) == (50, 0)
    assert fate.status.uncounted_restart_times == []


def test_what_a_users_rule_forgives_is_capped_too() -> None:
    fate = Fate(FEW, failureRules=[{"exitCodes": [1], "action": "RestartUncounted"}])
    for _ in range(4):
        fate.strike(code=1)
    assert fate.status.counted_restarts == 1


def test_a_fault_of_the_program_uses_nothing_up() -> None:
    fate = Fate(FEW)
    fate.strike(code=1)
    assert (fate.status.counted_restarts, fate.status.uncounted_restart_times) == (1, [])


def test_times_are_kept_as_far_as_any_setting_needs_them() -> None:
    fate = Fate(SETTINGS.model_copy(update={"most_uncounted_restarts": 100, "uncounted_restarts_seconds": 1e9}))
    for _ in range(103):
        fate.strike(after=1)
    times: list[datetime] = fate.status.uncounted_restart_times
    assert len(times) == 100
    assert fate.status.counted_restarts == 3
