"""A clock that was set back, or that of a replica which ran ahead: nothing waits for moments that were never there."""

from datetime import datetime
from typing import Any

from arcface_api.resource.status import AvoidedNode, Condition
from arcface_operator.decision.policies.clock import MOMENTS, PARTS, without_future
from support.builders.plans import plan_in
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_report, make_worker, worker_names
from support.decision_table import status_in

DAY = 86_400
CRASHED = {"pods": (make_worker(0), make_ended(1, code=1))}


def holding(seconds: float, *kinds: Any) -> list[Condition]:
    return [
        Condition(type=kind, status="True", reason="Test", message="", last_transition_time=ago(seconds))
        for kind in kinds
    ]


def test_a_gang_that_lost_its_room_before_it_had_it_has_used_no_time() -> None:
    ahead = {"start_time": ago(-DAY), "conditions": holding(-DAY, "Scheduled", "Training"), "active_seconds": 70}
    status = plan_in("Training", CRASHED, ahead).status
    assert (status.phase, status.active_seconds) == ("Restarting", 70)


def test_a_pause_is_no_longer_than_it_should_be() -> None:
    ahead = {"vain_attempts": 1, "restarted_at": ago(-DAY)}
    waits = plan_in("Queued", {"pods": ()}, ahead)
    assert 0 < waits.look_again_seconds <= 2 * SETTINGS.restart_seconds
    assert waits.status.restarted_at == NOW
    began = {**ahead, "restarted_at": ago(2 * SETTINGS.restart_seconds)}
    assert worker_names(plan_in("Queued", {"pods": ()}, began)) == ["quick-worker-0", "quick-worker-1"]


def test_a_deadline_begins_at_the_latest_when_it_is_looked_at() -> None:
    ahead = {"conditions": holding(-DAY, "Scheduled")}
    waiting = {"pods": (make_worker(0, phase="Pending", is_ready=False), make_worker(1))}
    (scheduled,) = [item for item in plan_in("Starting", waiting, ahead).status.conditions if item.type == "Scheduled"]
    assert scheduled.last_transition_time == NOW


def test_every_moment_of_a_status_is_known() -> None:
    late: dict[str, Any] = {
        "restarted_at": ago(-1),
        "start_time": ago(-2),
        "training_completion_time": ago(-3),
        "completion_time": ago(-4),
        "uncounted_restart_times": [ago(5), ago(-5)],
        "conditions": [*holding(-6, "Ready"), *holding(6, "Training")],
        "progress": make_report(1, updated_at=ago(-7)).progress,
        "avoided_nodes": [AvoidedNode(name="a", reason="R", since=ago(-8))],
    }
    status = without_future(status_in("Training", **late), NOW)
    found: list[datetime] = []
    for name in PARTS:
        part = getattr(status, name)
        for item in part if isinstance(part, list) else [part]:
            found += [item] if isinstance(item, datetime) else []
            found += [getattr(item, MOMENTS[type(item)])] if type(item) in MOMENTS else []
    assert sorted(found) == [ago(6), ago(5), *[NOW] * 8]
    assert without_future(status, NOW) is status
