"""What is said of a job that has ended while somebody keeps what should be gone."""

from dataclasses import replace
from typing import Any

import pytest

from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide
from support.builders.jobs import make_job
from support.builders.plans import plan_in
from support.builders.views import SETTINGS, ago, make_ended, make_report
from support.fakes.cluster_world import World

NAMES = ("quick-worker-0", "quick-worker-1")
AUDIT = "example.com/audit"


def look(world: World, **fields: Any) -> World:
    return world.carried_out(decide(replace(world.observe(**fields), watched_since=world.now), SETTINGS, world.now))


def ready(status: Any) -> tuple[str, str, str]:
    found = condition(status, "Ready")
    assert found is not None
    return found.status, found.reason, found.message


def ended(code: int) -> World:
    """A job that has come to its end, whose pods are to go and somebody's finalizer keeps."""
    world = look(World(job=make_job(workers={"replicas": 2}, runPolicy={"cleanPodPolicy": "All", "backoffLimit": 0})))
    for name in NAMES:
        world = world.started(name).with_metadata(name, finalizers=[AUDIT])
    world = look(look(world).later(1), report=make_report(7))
    for name in NAMES:
        world = world.exited(name, code)
    return look(look(look(world)))


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_a_job_that_has_ended_names_the_finalizer_that_keeps_its_pods_for_as_long_as_it_does(
    code: int, phase: str
) -> None:
    world = look(ended(code).later(3600))
    kept = "the job has ended; pod quick-worker-0 has left, finalizer example.com/audit keeps it; "
    assert world.status.phase == phase
    assert ready(world.status) == ("False", "Ended", f"{kept}whoever set that must take it away")
    for name in NAMES:
        world = world.pod_gone(name)
    world = look(world)
    assert ready(world.status) == ("False", "Ended", "the job has ended")
    assert look(world.later(60)).status == world.status


def test_a_job_that_has_ended_names_the_node_that_does_not_let_its_pod_go() -> None:
    leaving = make_ended(0, code=1, leaves_at=ago(7200), phase="Running")
    status = plan_in("Failed", {"pods": (leaving,)}).status
    assert ready(status)[2].startswith("the job has ended; pod quick-worker-0 on node node-0 should have left by ")


def test_a_job_that_has_ended_names_the_finalizer_of_its_group() -> None:
    plan = plan_in("Succeeded", {"groups": {"quick": (AUDIT,)}}, scheduling={"gang": "volcano"})
    assert ready(plan.status)[2] == f"the job has ended; group quick waits on its finalizers {AUDIT}"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_what_is_said_of_an_ended_job_that_nobody_keeps_anything_of_stays(phase: str) -> None:
    before = plan_in(phase, {"pods": (make_ended(0, phase="Succeeded"), make_ended(1, phase="Succeeded"))}).status
    conditions = [item for item in before.conditions if item.type == "Ready"]
    assert all("keeps" not in item.message for item in conditions)
    assert plan_in(phase, {}).status.conditions == before.conditions
