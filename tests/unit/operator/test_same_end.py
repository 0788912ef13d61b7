"""The same facts come to the same end: whatever the order, delay and loss of what the operator hears of them, and
wherever it dies.

`Life` holds a cluster and the troubles that are still to befall a job in it, each once and one at a time. What is
free is when the cluster moves, when the operator looks, how old the state is that it sees, and how much of its plan
it carries out before it dies.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Action, Apply, Plan
from support.fakes.cluster_world import World
from support.fakes.job_facts import TROUBLES, VERDICTS, Facts, Trouble
from support.fakes.job_life import PATIENT_SETTINGS, Life, assert_has_ended_as_it_must

FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None}
TROUBLE = st.builds(
    Trouble, st.sampled_from(list(TROUBLES)), st.integers(0, 1), st.sampled_from(["lives", "before", "after"])
)
FACTS = st.builds(
    Facts,
    st.lists(TROUBLE, max_size=4).map(tuple),
    st.sampled_from(list(VERDICTS)),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.sampled_from(list(TROUBLES)), max_size=3).map(tuple),
    st.booleans(),
)
STEP = st.one_of(
    st.tuples(st.just("move"), st.integers(0, 7)),
    st.tuples(
        st.just("look"), st.floats(0, 1), st.integers(0, 255), st.sampled_from(["all", "some", "figures", "none"])
    ),
    st.tuples(st.just("wait"), st.integers(1, 200)),
)


def take(life: Life, step: tuple[object, ...]) -> None:
    """One step of a schedule."""
    match step:
        case ("move", int(choice)):
            life.move(choice)
        case ("wait", int(seconds)) if life.struck is None:
            life.world = life.world.later(seconds)
        case ("look", float(newness), int(bits), how):
            plan = life.decided(newness)
            life.become(written(life.world, plan, str(how), bits))


def written(world: World, plan: Plan, how: str, bits: int) -> World:
    """What comes of a plan."""
    if how == "none":
        return world  # the operator has died before it wrote anything
    if how == "some":
        return world.carried_out(plan, some(plan, bits))
    acted = world.carried_out(plan)
    if how == "figures" and plan.status.model_copy(update=FIGURES) == world.status.model_copy(update=FIGURES):
        return acted.written(world.status)  # figures alone are written later
    return acted


def some(plan: Plan, bits: int) -> tuple[Action, ...]:
    """What was done when the operator died: what pods need comes first and in order, the rest at the same time."""
    first = [action for action in plan.actions if isinstance(action, Apply)]
    rest = [action for action in plan.actions if not isinstance(action, Apply)]
    done = first[: bits % 8]
    return (*done, *(action for place, action in enumerate(rest) if len(done) == len(first) and bits >> place & 1))


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(FACTS, st.lists(STEP, min_size=20, max_size=80))
def test_whatever_is_heard_when_the_end_is_the_same(facts: Facts, steps: list[tuple[object, ...]]) -> None:
    life = Life(facts)
    for step in steps:
        take(life, step)
    life.rest()
    assert_has_ended_as_it_must(life)


LIVES = [
    pytest.param(Facts(()), id="smooth"),
    pytest.param(Facts((), is_ascend=True), id="smooth on Ascend"),
    pytest.param(Facts((Trouble("error", 1, "after"),), is_ascend=True), id="a fault"),
    pytest.param(Facts((Trouble("node lost", 0, "lives"), Trouble("evicted", 1, "before"))), id="infrastructure"),
    pytest.param(Facts((Trouble("killed", 0, "lives"), Trouble("error", 0, "after")), backoff_limit=1), id="too many"),
    pytest.param(Facts((Trouble("vanished", 0, "after"),), "misses", 0), id="lost pod and missed gate"),
    pytest.param(Facts((), evaluators=("node lost", "killed")), id="an evaluator on a lost node"),
    pytest.param(Facts((), evaluators=("error", "evicted", "error"), backoff_limit=1), id="a hopeless evaluator"),
    pytest.param(Facts((Trouble("error", 0, "lives"),), backoff_limit=1, is_paused=True), id="a pause"),
]


@pytest.mark.parametrize("facts", LIVES)
def test_the_operator_may_die_between_any_two_writes(facts: Facts) -> None:
    whole = Life(facts)
    whole.rest()
    assert_has_ended_as_it_must(whole)
    plans = plans_of(facts)
    for place, plan in enumerate(plans):
        for count in range(-1, len(plan.actions)):
            life = Life(facts)
            die_at(life, place, count)
            life.rest()
            assert_has_ended_as_it_must(life)


def plans_of(facts: Facts) -> list[Plan]:
    """All plans of an undisturbed life."""
    life, plans = Life(facts), []
    while not plans or life.world.status.phase not in {"Succeeded", "Failed"} or plans[-1].actions:
        plans.append(life.look())
        for _ in range(4):
            life.move(0)
        life.world = life.world.later(60)
    return plans


def die_at(life: Life, place: int, count: int) -> None:
    """The same life up to a plan of which the status and the first actions are written; -1: not even the status."""
    for _ in range(place):
        life.look()
        for _ in range(4):
            life.move(0)
        life.world = life.world.later(60)
    plan = life.decided()
    if count >= 0:
        life.become(life.world.carried_out(plan, plan.actions[:count]))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(FACTS, st.lists(STEP, min_size=10, max_size=60))
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(facts: Facts, steps: list[tuple[object, ...]]) -> None:
    life = Life(facts)
    for step in steps:
        take(life, step)
    life.world = replace(life.world, lost_nodes=frozenset())
    for _ in range(12):
        plan = decide(life.world.observe(), PATIENT_SETTINGS, life.world.now)
        if plan.status == life.world.status and not plan.actions:
            break
        life.world = life.world.carried_out(plan).swept()
    again = decide(life.world.observe(), PATIENT_SETTINGS, life.world.now)
    assert (again.actions, again.status) == ((), life.world.status)
