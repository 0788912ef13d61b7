"""Whatever happens to a job, in whatever order: nothing that must hold is ever broken, and it comes to an end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arcface_api.contract.pod_environment import ATTEMPT_LABEL
from arcface_api.resource.spec import EvaluationSpec, RunPolicySpec
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import view_pod
from arcface_operator.decision.plan import Create, Delete, Plan
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, evaluator_report, make_report, worker_names
from support.decision_table import assert_tells_the_truth, counters
from support.fakes import kueue
from support.fakes.cluster_world import World

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ['{"failure":', "[]", "null", '"\\ud800"', '{"progress":{"step":-1}}', "\x1b[31mred", "a\n" * 3000]
    ),
)
CODES = st.sampled_from([0, 1, 2, 3, 137, 139, 143, 255])
REASONS = st.sampled_from(["Evicted", "NodeLost", "OutOfhuawei.com/Ascend910", "", "Ünïcode!", "9lives"]) | st.just(
    "x"
).map(lambda letter: letter * 2000)
INDEX = st.integers(0, 1)
POLICIES = st.builds(
    RunPolicySpec,
    backoff_limit=st.integers(0, 2),
    startup_deadline_seconds=st.sampled_from([1, 1800]),
    stall_seconds=st.sampled_from([1, 1800]),
    active_deadline_seconds=st.sampled_from([None, 1, 100_000]),
    clean_pod_policy=st.sampled_from(["None", "Running", "All"]),
)
LFW = EvaluationSpec(claim_name="sets", sets=["lfw"])
EVALUATIONS = st.sampled_from([None, LFW, LFW.model_copy(update={"template": {"x": 1}})])
WORKLOAD = st.sampled_from(["quick", "quick-evaluate"])
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "look": (st.booleans(), st.just(1023) | st.integers(0, 1023)),
    "start": (INDEX,),
    "exit": (INDEX, CODES, HOSTILE),
    "fail": (INDEX, REASONS, HOSTILE),
    "delete": (INDEX,),
    "vanish": (INDEX,),
    "relabel": (INDEX, st.sampled_from(["", "7", "-1", "x"])),
    "gate": (INDEX, st.booleans()),
    "sweep": (),
    "wait": (st.integers(0, 60) | st.integers(0, 4000),),
    "lose nodes": (),
    "suspend": (st.booleans(),),
    "policy": (POLICIES,),
    "evaluation": (EVALUATIONS,),
    "evaluated": (CODES, HOSTILE | st.just(evaluator_report())),
    "evaluator vanishes": (),
    "admit": (WORKLOAD,),
    "evict": (WORKLOAD,),
    "workload vanishes": (WORKLOAD,),
}
OFTEN = ["look"] * 24 + ["start"] * 12 + ["sweep", "wait", "exit", "fail"] * 3
"""Troubles must leave a job the time to get somewhere."""
EVENT = st.sampled_from([*OFTEN, *ARGUMENTS]).flatmap(lambda kind: st.tuples(st.just(kind), *ARGUMENTS[kind]))


SPEC_FIELDS = {"suspend": "suspend", "policy": "run_policy", "evaluation": "evaluation"}
"""What users change, by the name of the event."""


def happen(world: World, event: tuple[Any, ...]) -> World:
    """The world after an event; one that does not fit does nothing."""
    kind, *arguments = event
    if kind in QUEUE_EVENTS:
        return happen_to_workload(world, kind, *arguments)
    return happen_to_job(world, event)


def happen_to_job(world: World, event: tuple[Any, ...]) -> World:
    """The world after an event that Kueue has no part in."""
    name = f"quick-worker-{event[1]}" if len(event) > 1 else ""
    match event:
        case ("wait", seconds):
            return world.later(seconds)
        case ("sweep",):
            return world.swept()
        case (wish, value) if wish in SPEC_FIELDS:
            return world.with_spec(**{SPEC_FIELDS[wish]: value})
        case ("evaluated", code, message):
            return world.evaluated(code, message)
        case ("evaluator vanishes",):
            return world.pod_gone("quick-evaluate")
        case ("lose nodes",):
            return replace(world, lost_nodes=frozenset({"node-0", "node-1"}))
        case _ if name in world.pods:
            return happen_to_pod(world, name, event)
    return world


def happen_to_workload(world: World, event: str, name: str) -> World:
    """What happens to a Workload in Kueue's queue, where there is one and it fits."""
    if name not in kueue.gangs(world) or kueue.holds_quota(world, name) is (event == "admit"):
        return world
    return QUEUE_EVENTS[event](world, name)


QUEUE_EVENTS: dict[str, Callable[[World, str], World]] = {
    "admit": kueue.admitted,
    "evict": kueue.evicted,
    "workload vanishes": kueue.deleted,
}


def happen_to_pod(world: World, name: str, event: tuple[Any, ...]) -> World:
    """What happens to a rank pod."""
    pod = world.pods[name]
    match event:
        case ("start", _):  # what has ended never runs again
            return world if view_pod(pod).has_left_its_node else world.started(name)
        case ("exit", _, code, message):
            return world.exited(name, code, message)
        case ("fail", _, reason, message):
            return world.with_pod_status(name, phase="Failed", reason=reason, message=message)
        case ("delete", _):
            return world.pod_deleted(name)
        case ("vanish", _):
            return world.pod_gone(name)
        case ("relabel", _, label):
            return world.with_metadata(name, labels={**pod["metadata"]["labels"], ATTEMPT_LABEL: label})
        case ("gate", _, is_gated):
            spec = {**pod["spec"], "schedulingGates": [{"name": "kueue"}] if is_gated else []}
            return replace(world, pods={**world.pods, name: {**pod, "spec": spec}})
    raise AssertionError(event)


def look(world: World, is_answered: bool, bits: int) -> World:
    """The operator looks, and some of what it decides is done."""
    report = make_report(bits) if is_answered else None
    plan = decide(world.observe(report=report), SETTINGS, world.now)
    assert plan == decide(world.observe(report=report), SETTINGS, world.now)
    assert_holds(world, plan)
    return world.carried_out(plan, [action for place, action in enumerate(plan.actions) if bits >> place & 1])


def assert_holds(world: World, plan: Plan) -> None:
    """What holds of every decision."""
    old, new = world.status, plan.status
    assert all(after >= before for before, after in zip(counters(old), counters(new), strict=True))
    assert new.counted_restarts <= max(world.job.spec.run_policy.backoff_limit, old.counted_restarts)
    if old.phase in {"Succeeded", "Failed"}:
        assert new == old
    assert_tells_the_truth(new)
    created, views = worker_names(plan), [view_pod(pod) for pod in world.pods.values()]
    assert len(created) == len(set(created))
    assert not set(created) & set(world.pods)
    if created and world.job.spec.scheduling.gang == "kueue":
        assert kueue.holds_quota(world, "quick")
    if created:
        assert all(view.attempt == new.attempt for view in views if view.component == "worker")
        assert new.phase in {"Pending", "Queued", "Restarting"}
    there = {view.uid for view in views} | {item["metadata"]["uid"] for item in world.workloads.values()}
    assert {action.uid for action in plan.actions if isinstance(action, Delete)} <= there
    if new.phase != old.phase and new.phase in {"Succeeded", "Failed"}:
        assert not [action for action in plan.actions if isinstance(action, Create | Delete)]


JOB, QUEUED_JOB = (
    make_job(
        workers={"replicas": 2},
        evaluation={"claimName": "sets", "sets": ["lfw"]},
        runPolicy={"backoffLimit": 1},
        scheduling=scheduling,
        uid="1",
    )
    for scheduling in ({}, {"gang": "kueue", "queue": "npu"})
)
JOBS = st.sampled_from([JOB, QUEUED_JOB])


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(JOBS, st.lists(EVENT, min_size=10, max_size=60))
def test_no_event_breaks_what_must_hold_and_good_times_bring_the_end(job: Any, events: list[tuple[Any, ...]]) -> None:
    world = World(job=job)
    for event in events:
        world = look(world, event[1], event[2]) if event[0] == "look" else happen(world, event)
    settle(world.with_spec(suspend=False))


def settle(world: World) -> None:
    """From now on all goes well."""
    for _ in range(60):
        before = world
        world = all_goes_well(look(world, is_answered=False, bits=1023))
        if (
            world.status.phase in {"Succeeded", "Failed"}
            and before.pods == world.pods
            and before.status == world.status
        ):
            assert not any(kueue.holds_quota(world, name) for name in kueue.gangs(world))
            return
        world = world.later(5)
    pytest.fail(f"no end: {world.status}")


def all_goes_well(world: World) -> World:
    """Pods that leave are gone, those that wait run, those that run are done."""
    world = replace(world, lost_nodes=frozenset()).swept()
    for name in kueue.gangs(world):
        world = happen_to_workload(world, "admit", name)
    for name, pod in world.pods.items():
        view = view_pod(pod)
        if view.component != "worker" or view.ended is not None:
            continue
        world = happen_to_pod(world, name, ("gate", view.index, False))
        world = world.started(name) if view.node is None else world.exited(name, 0)
    return world.evaluated(0, evaluator_report())


@settings(max_examples=50)
@given(JOBS, st.lists(EVENT, min_size=10, max_size=40))
def test_a_suspended_job_holds_nothing(job: Any, events: list[tuple[Any, ...]]) -> None:
    world = World(job=job)
    for event in events:
        world = look(world, event[1], event[2]) if event[0] == "look" else happen(world, event)
    world = replace(world.with_spec(suspend=True), lost_nodes=frozenset())
    for _ in range(3):
        world = look(world, is_answered=False, bits=1023).swept()
    if world.status.phase in {"Succeeded", "Failed"}:
        return
    assert world.status.phase == "Suspended"
    assert not world.pods
    assert not any(kueue.holds_quota(world, name) for name in kueue.gangs(world))


@pytest.mark.parametrize("policy", ["None", "Running", "All"])
def test_a_job_past_its_time_to_live_is_deleted_with_everything(policy: Any) -> None:
    limits = RunPolicySpec(ttl_seconds_after_finished=50, clean_pod_policy=policy)
    world = World(job=JOB).with_spec(evaluation=None, run_policy=limits)
    for _ in range(12):
        world = all_goes_well(look(world, is_answered=True, bits=1023)).later(5)
    assert world.status.phase == "Succeeded"
    assert not world.is_job_deleted
    world = look(world.later(50), is_answered=True, bits=1023)
    assert world.is_job_deleted
