"""When a rank table is written and the pods are told of it, and what the job says meanwhile."""

import json
from typing import Any

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION
from arcface_api.resource.status import Condition, RankTableStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.device_annotation import parse_configuration
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Annotate, Apply, Create
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.builders.rank_tables import (
    NAME,
    configuration,
    job_of,
    member,
    table,
)
from support.builders.views import ASCEND, NOW, SETTINGS, ago, make_report, make_worker
from support.decision_table import observation_in, status_in
from support.fakes.cluster_world import World


def test_the_annotations_name_is_a_setting() -> None:
    settings = Settings(device_annotation="example.com/devices")
    pods = tuple(
        member(index, annotations={"example.com/devices": json.dumps(configuration(index))}) for index in (0, 1)
    )
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), settings, NOW)
    assert isinstance(plan.actions[0], Apply)


def starting(**changes: Any) -> Any:
    """A job whose pods exist."""
    status = status_in("Starting", attempt=0, **changes)
    return job_of().model_copy(update={"status": status})


def ready_condition(plan: Any) -> tuple[str, str, str]:
    (found,) = [item for item in plan.status.conditions if item.type == "RankTableReady"]
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("pods", "condition"),
    [
        pytest.param(
            (member(0), member(1, annotations={})),
            ("False", "WaitingForDevices", "no devices are known yet of quick-worker-1"),
            id="waits",
        ),
        pytest.param(
            (member(0), member(1, configuration(1, ("0",)))),
            ("False", "DevicesUnusable", "pod quick-worker-1 was given 1 devices, devicesPerWorker is 2"),
            id="cannot be right",
        ),
        pytest.param(
            (member(0), member(1)),
            ("False", "Publishing", "the cards of all ranks are known, the table is being written"),
            id="complete and not written",
        ),
    ],
)
def test_the_condition_tells_how_the_table_is(pods: tuple[PodView, ...], condition: tuple[str, str, str]) -> None:
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, NOW)
    assert ready_condition(plan) == condition
    assert plan.status.rank_table is not None
    assert plan.status.rank_table.state == "initializing"
    assert plan.actions == () or condition[1] == "Publishing"


def test_a_complete_table_is_written_before_the_pods_are_touched() -> None:
    plan = decide(observation_in("Starting", starting(), {"pods": (member(0), member(1))}), SETTINGS, NOW)
    written, *touches = plan.actions
    assert isinstance(written, Apply)
    data = written.manifest["data"]
    assert data == {"hccl.json": table(job_of(), member(0), member(1)).document, "version": str(int(NOW.timestamp()))}
    assert all(isinstance(touch, Annotate) for touch in touches)
    assert [touch.name for touch in touches] == ["quick-worker-0", "quick-worker-1"]


def touched(*pods: PodView) -> tuple[PodView, ...]:
    """The pods after a decision about them."""
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, NOW)
    (value,) = {action.annotations[RANK_TABLE_ANNOTATION] for action in plan.actions if isinstance(action, Annotate)}
    return tuple(member(pod.index, annotations={**pod.annotations, RANK_TABLE_ANNOTATION: value}) for pod in pods)


def test_a_table_that_all_pods_know_is_complete_and_left_alone() -> None:
    pods = touched(member(0), member(1))
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(-60))
    assert plan.actions == ()
    assert ready_condition(plan) == ("True", "Completed", "all ranks are in it")
    assert plan.status.rank_table == RankTableStatus(state="completed", ready=4, total=4)


def test_a_table_that_a_pod_has_not_been_told_of_may_not_have_been_written() -> None:
    one, _ = touched(member(0), member(1))
    plan = decide(observation_in("Starting", starting(), {"pods": (one, member(1))}), SETTINGS, NOW)
    assert ready_condition(plan)[:2] == ("False", "Publishing")
    assert [type(action) for action in plan.actions] == [Apply, Annotate]


def test_a_look_at_a_table_that_all_pods_know_reads_no_annotation() -> None:
    pods = touched(member(0), member(1))
    parse_configuration.cache_clear()
    decide(observation_in("Training", starting(), {"pods": pods}), SETTINGS, NOW)
    assert parse_configuration.cache_info().misses == 0


def test_a_table_that_has_changed_is_written_again() -> None:
    one, other = touched(member(0), member(1))
    moved = member(1, annotations=other.annotations, address="10.244.9.9")
    plan = decide(observation_in("Starting", starting(), {"pods": (one, moved)}), SETTINGS, NOW)
    assert [type(action) for action in plan.actions] == [Apply, Annotate, Annotate]


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        pytest.param({}, "the rank table waits for quick-worker-0, quick-worker-1", id="waits"),
        pytest.param(
            {NAME: "{"},
            "there is no rank table: pod quick-worker-0: the device plugin's annotation cannot be read (",
            id="cannot be right",
        ),
    ],
)
def test_a_start_without_a_table_says_in_the_end_why(annotations: dict[str, str], why: str) -> None:
    pods = tuple(member(index, annotations=annotations, created=ago(4000)) for index in range(2))
    first = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(3000)).status
    ready = Condition(type="Ready", status="True", reason="Ready", message="", last_transition_time=ago(1800))
    told = [item for item in first.conditions if item.type != "Ready"]
    waiting = starting(rank_table=first.rank_table, conditions=[*told, ready])
    failure = decide(observation_in("Starting", waiting, {"pods": pods}), SETTINGS, NOW).status.failure
    assert failure is not None
    assert failure.reason == "StartupDeadlineExceeded"
    assert why in failure.message


def test_an_ascend_job_may_meet_without_a_table() -> None:
    job = job_of(rendezvous="dynamic").model_copy(update={"status": status_in("Starting", attempt=0)})
    plan = decide(observation_in("Starting", job, {"pods": (make_worker(0), make_worker(1))}), SETTINGS, NOW)
    assert plan.status.rank_table is None
    assert plan.actions == ()


def test_a_job_whose_table_fits_into_no_config_map_is_refused_before_anything_is_taken() -> None:
    plan = decide(observation_in(None, job_of(replicas=2048, devices=8), {}), SETTINGS, NOW)
    assert plan.status.phase == "Failed"
    assert not any(isinstance(action, Apply | Create) for action in plan.actions)
    (failed,) = [item for item in plan.status.conditions if item.type == "Failed"]
    assert failed.message.startswith("spec.workers: the rank table of 2048 x 8 ranks has up to 1,253,505 bytes")


RANKS = ("quick-worker-0", "quick-worker-1")
OF_PODS = ("Ready", "Scheduled", "RankTableReady")


def look(world: World, report: Any = None) -> World:
    return world.carried_out(decide(world.observe(report=report), SETTINGS, world.now))


def at_work(**spec: Any) -> World:
    """A gang that has its rank table and trains."""
    world = look(look(World(job=make_job(workers=ASCEND, training={"precision": "fp32"}, **spec))))
    for name in RANKS:
        world = world.started(name)
    for _ in range(4):
        world = look(world)
    world = look(world, make_report(7))
    assert (world.status.phase, said(world)) == ("Training", [("True", kind) for kind in ROOM_REASONS])
    return world


ROOM_REASONS = ("Ready", "Scheduled", "Completed")


def said(world: World) -> list[tuple[str, str]]:
    found = {item.type: (item.status, item.reason) for item in world.status.conditions}
    return [found[kind] for kind in OF_PODS]


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (2, "Failed")])
def test_nothing_is_said_to_be_there_of_a_job_that_has_ended(code: int, phase: str) -> None:
    world = at_work().later(100)
    for name in RANKS:
        world = world.exited(name, code)
    world = look(look(world).later(60).swept())
    assert (world.status.phase, said(world), world.status.rank_table) == (phase, [("False", "Ended")] * 3, None)
    assert world.status.active_seconds == 100


def test_an_end_leaves_what_a_job_lacked() -> None:
    world = look(look(World(job=make_job(runPolicy={"schedulingDeadlineSeconds": 60})))).unschedulable(RANKS[0])
    world = look(look(world).later(60))
    found = {item.type: (item.status, item.reason) for item in world.status.conditions}
    assert (world.status.phase, found["Scheduled"]) == ("Failed", ("False", "Queued"))


def test_the_rank_table_is_that_of_the_training_alone() -> None:
    world = at_work(evaluation={"claimName": "sets", "sets": ["lfw"]})
    for name in RANKS:
        world = world.exited(name, 0)
    world = look(look(world))
    assert (world.status.training_completion_time is not None, said(world)[2]) == (True, ("False", "Pending"))
    assert world.status.rank_table is None
