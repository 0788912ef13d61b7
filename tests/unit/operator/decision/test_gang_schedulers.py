"""Days in the queues of gang schedulers: what they do to pods for hours is neither a fault nor counted."""

from dataclasses import replace
from typing import Any

import pytest

from arcface_operator.decision.decide import decide
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_report, refused_action
from support.fakes.cluster_world import World
from support.fakes.gang_schedulers import Coscheduling, Scheduler, Volcano, carried_out

HOUR = 3600
SCHEDULERS = [
    pytest.param("native", Scheduler, id="native"),
    pytest.param("volcano", Volcano, id="volcano with its webhook"),
    pytest.param("volcano", lambda: Volcano(has_webhook=False), id="volcano without"),
    pytest.param("coscheduling", Coscheduling, id="coscheduling"),
]


class Course:
    """A job and the scheduler of its gang."""

    def __init__(self, gang: str, scheduler: Scheduler) -> None:
        limits = {"backoffLimit": 0, "activeDeadlineSeconds": 2 * HOUR}
        scheduling = {"gang": gang, "queue": "faces"}
        job = make_job(workers={"replicas": 2}, scheduling=scheduling, runPolicy=limits, uid="1")
        self.world, self.scheduler, self.refusal, self.steps = World(job=job), scheduler, None, 0

    def go_on(self, seconds: float, period: float = 60.0) -> None:
        """Time passes; the scheduler and the operator look as often as they do."""
        for _ in range(round(seconds / period)):
            self.world = self.scheduler.look(self.world.later(period).swept())
            self.look()

    def look(self) -> None:
        is_training = self.world.status.phase in {"Starting", "Training"}
        self.steps += is_training
        report: Any = make_report(min(self.steps, 99)) if is_training else None
        failures = () if self.refusal is None else (refused_action(self.refusal),)
        seen = replace(self.world.observe(report=report), failures=failures)
        self.world, self.refusal = carried_out(self.world, decide(seen, SETTINGS, self.world.now), self.scheduler)

    def counts(self) -> tuple[Any, int]:
        return self.world.status.phase, self.world.status.counted_restarts


@pytest.mark.parametrize(("gang", "build"), SCHEDULERS)
def test_a_gang_that_waits_a_day_trains_is_preempted_waits_and_comes_back(gang: str, build: Any) -> None:
    course = Course(gang, build())
    course.look()
    course.go_on(24 * HOUR, period=600)
    assert course.counts()[0] in {"Pending", "Queued"}
    assert not [pod for pod in course.world.pods.values() if "nodeName" in pod["spec"]]
    course.scheduler.has_room = True
    course.go_on(HOUR)
    assert course.counts() == ("Training", 0)
    course.world = course.scheduler.preempt(course.world, ["quick-worker-1"])
    course.go_on(HOUR)
    assert course.counts()[0] in {"Pending", "Queued", "Restarting"}
    course.scheduler.has_room = True
    course.go_on(HOUR / 2)
    assert course.counts() == ("Training", 0)
    for name in course.world.pods:
        course.world = course.world.exited(name, 0)
    course.look()
    assert course.counts() == ("Succeeded", 0)


def test_what_volcanos_webhook_says_is_told_while_it_refuses() -> None:
    course = Course("volcano", Volcano())
    course.look()
    course.go_on(HOUR)
    (ready,) = [item for item in course.world.status.conditions if item.type == "Ready"]
    assert (ready.reason, course.world.pods) == ("Refused", {})
    assert "the podgroup phase is Pending" in ready.message


@pytest.mark.parametrize(("gang", "build"), [pair for pair in SCHEDULERS if pair.id != "volcano with its webhook"])
def test_a_gang_in_the_queue_gets_back_the_group_that_somebody_has_deleted(gang: str, build: Any) -> None:
    course = Course(gang, build())
    course.look()
    course.go_on(HOUR, period=600)
    assert (course.world.status.phase, len(course.world.pods)) == ("Queued", 2)
    seen = course.world.observe()
    assert decide(seen, SETTINGS, course.world.now).look_again_seconds == 60.0
    assert decide(replace(seen, groups=None), SETTINGS, course.world.now).actions == ()
    course.world = course.world.without("PodGroup", "quick")
    course.scheduler.has_room = True
    course.go_on(HOUR / 2)
    assert course.counts() == ("Training", 0)
