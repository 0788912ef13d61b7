"""The same facts come to the same end: whatever the order, delay and loss of what the operator hears of them, and
wherever it dies.

`Life` holds a cluster and the troubles that are still to befall a job in it, each once and one at a time. What is
free is when the cluster moves, when the operator looks, how old the state is that it sees, and how much of its plan
it carries out before it dies.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION, SCHEDULER_ANNOTATION
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView, view_pod
from arcface_operator.decision.plan import Action, Apply, Delete, Plan
from support.builders.jobs import make_job
from support.builders.views import ASCEND, SETTINGS, evaluator_report, make_report, worker_names
from support.decision_table import assert_tells_the_truth, counters
from support.fakes.cluster_world import World

TROUBLES: dict[str, Callable[[World, str], World]] = {
    "error": lambda world, name: world.exited(name, 1, "Traceback\nValueError: x"),
    "killed": lambda world, name: world.exited(name, 137),
    "invalid": lambda world, name: world.exited(name, 2),
    "diverged": lambda world, name: world.exited(name, 3),
    "stopped": lambda world, name: world.exited(name, 143),
    "evicted": lambda world, name: world.evicted(name),
    "vanished": lambda world, name: world.pod_gone(name),
    "deleted": lambda world, name: world.pod_deleted(name),
    "node lost": lambda world, name: replace(
        world.pod_deleted(name), lost_nodes=world.lost_nodes | {world.pods[name]["spec"]["nodeName"]}
    ),
}
"""The last: a node dies and the cluster wants its pod away, but nobody is there to confirm that it has left."""
COUNTED, FINAL = {"error", "killed"}, {"invalid": "InvalidInput", "diverged": "Diverged"}
VERDICTS = {
    "passes": (0, evaluator_report(0.995), "Succeeded"),
    "misses": (0, evaluator_report(0.5), "GateMissed"),
    "fails": (2, "no lfw.bin", "EvaluationFailed"),
}
EVALUATOR = "quick-evaluate"
FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None}
PATIENT = {"startupDeadlineSeconds": 10**9, "stallSeconds": 10**9}
PATIENT_SETTINGS = SETTINGS.model_copy(update={"partial_gang_seconds": 1e9})
"""What is seen may be far older than any cache: nobody is to let go for it."""


@dataclass(frozen=True)
class Trouble:
    """Something that befalls one rank pod, and what its peer makes of it once they have met."""

    kind: str
    victim: int
    peer: str
    """Dies not at all, before or after its cause shows."""


@dataclass(frozen=True)
class Facts:
    """All that befalls a job."""

    troubles: tuple[Trouble, ...]
    verdict: str = "passes"
    backoff_limit: int = 2
    is_ascend: bool = False
    evaluators: tuple[str, ...] = ()
    """What befalls the evaluator, one after the other."""
    is_paused: bool = False
    """Whether the user suspends the job while it is evaluated, and resumes it."""

    def end(self) -> tuple[str, int]:
        """How the job must end: the reason, and restarts that count."""
        counted = 0
        for trouble in self.troubles:
            if trouble.kind in FINAL:
                return FINAL[trouble.kind], counted
            if trouble.kind in COUNTED:
                if counted == self.backoff_limit:
                    return "BackoffLimitExceeded", counted
                counted += 1
        return self.end_of_evaluation(counted)

    def end_of_evaluation(self, before: int) -> tuple[str, int]:
        """The same of the second stage, which has restarts of its own."""
        counted = 0
        for kind in self.evaluators:
            if kind in FINAL or (kind in COUNTED and counted == self.backoff_limit):
                return "EvaluationFailed", before + counted
            counted += kind in COUNTED
        return VERDICTS[self.verdict][2], before + counted


class Life:
    """One job and its cluster."""

    def __init__(self, facts: Facts) -> None:
        job = make_job(
            workers=ASCEND if facts.is_ascend else {"replicas": 2},
            training={"precision": "fp32"},
            evaluation={"claimName": "sets", "sets": ["lfw"], "gates": [{"metric": "lfw.accuracy", "min": 0.99}]},
            runPolicy={"backoffLimit": facts.backoff_limit, **PATIENT},
            uid="1",
        )
        self.facts = facts
        self.world = World(job=job)
        self.troubles = list(facts.troubles)
        self.evaluators_troubles = list(facts.evaluators)
        self.is_to_be_paused = facts.is_paused
        self.struck: int | None = None
        """Place in the history at which the peer has died while the cause is still to show."""
        self.attempt: int | None = None
        """Which the last trouble befell."""
        self.step = 0
        self.history = [self.world]
        self.seen = 0

    def become(self, world: World) -> None:
        self.world = world
        self.history.append(world)
        assert_nobody_starts_from_an_old_table(world)

    # The operator.

    def decided(self, newness: float = 1.0) -> Plan:
        """The operator decides on a state between its last and the present one."""
        self.seen += int((len(self.history) - 1 - self.seen) * newness)
        observation = self.world.observe(self.history[self.seen], self.report())
        plan = decide(observation, PATIENT_SETTINGS, self.world.now)
        assert_goes_on(self.world.status, plan.status, self.facts)
        for action in plan.actions:
            assert_may_be_forced(self.world, observation.pods, action)
        assert not (plan.status.training_completion_time and worker_names(plan))
        return plan

    def look(self, newness: float = 1.0) -> Plan:
        """It decides and acts."""
        plan = self.decided(newness)
        self.become(self.world.carried_out(plan))
        return plan

    def report(self) -> TrainerReport | None:
        """What rank 0 serves."""
        self.step += 1
        return make_report(self.step) if self.have_met() and self.step % 3 else None

    def rest(self) -> None:
        """Everybody has time and nothing is lost, until the job has ended and been cleaned up."""
        for _ in range(300):
            plan = self.look()
            if (
                self.world.status.phase in {"Succeeded", "Failed"}
                and not plan.actions
                and plan.status == self.world.status
            ):
                return
            for _ in range(4):
                self.move(0)
            self.world = self.world.later(60)
        pytest.fail(f"no end: {self.world.status}")

    # The cluster.

    def moves(self) -> list[Callable[[], World]]:
        """All that may happen next."""
        world, views = self.world, self.views()
        if self.struck is not None:
            return [self.strike]
        found: list[Callable[[], World]] = []
        for view in views.values():
            if view.node is None:
                found.append(lambda view=view: world.started(view.name, f"node-{view.index}-{world.serial}"))
            if view.is_leaving and view.node not in world.lost_nodes:
                found.append(lambda view=view: world.pod_gone(view.name))
        if self.troubles and self.is_healthy() and self.victim() is not None:
            found.append(self.strike)
        return [*found, *self.good_ends(views), *self.evaluators_moves()]

    def good_ends(self, views: dict[int, PodView]) -> list[Callable[[], World]]:
        """Ranks that have met and that nothing befalls any more are done, one after the other."""
        if not self.have_met() or self.troubles:
            return []
        world = self.world
        is_well = not any(view.is_leaving or (view.ended and view.ended.exit_code) for view in views.values())
        runs = [view for view in views.values() if view.ended is None and is_well]
        return [lambda view=view: world.exited(view.name, 0) for view in runs]

    def evaluators_moves(self) -> list[Callable[[], World]]:
        """The evaluator runs, leaves, or comes to its verdict; somebody suspends and resumes the job."""
        world = self.world
        if world.job.spec.suspend and not world.pods:
            return [lambda: world.with_spec(suspend=False)]
        if EVALUATOR not in world.pods:
            return []
        view = view_pod(world.pods[EVALUATOR])
        if view.is_leaving:
            return [] if view.node in world.lost_nodes else [lambda: world.pod_gone(EVALUATOR)]
        if view.node is None:
            return [lambda: world.started(EVALUATOR, f"node-e-{world.serial}")]
        if view.ended is not None or world.job.spec.suspend:
            return []
        if self.is_to_be_paused:
            return [self.pause]
        return [
            self.strike_evaluator
            if self.evaluators_troubles
            else lambda: world.evaluated(*VERDICTS[self.facts.verdict][:2])
        ]

    def pause(self) -> World:
        """The user suspends the job while its evaluator runs."""
        self.is_to_be_paused = False
        return self.world.with_spec(suspend=True)

    def strike_evaluator(self) -> World:
        """The evaluator's next trouble."""
        self.see_the_pods()
        return TROUBLES[self.evaluators_troubles.pop(0)](self.world.later(2), EVALUATOR)

    def move(self, choice: int) -> None:
        """One thing happens."""
        if moves := self.moves():
            self.become(moves[choice % len(moves)]())

    def views(self) -> dict[int, PodView]:
        """The rank pods by their index."""
        found = [view_pod(pod) for pod in self.world.pods.values()]
        return {view.index: view for view in found if view.component == "worker"}

    def is_healthy(self) -> bool:
        """Whether nothing is wrong with the gang that the operator has still to notice."""
        status, views = self.world.status, self.views().values()
        is_begun = status.phase in {"Pending", "Queued", "Restarting"} and status.attempt != self.attempt
        is_whole = len(views) == 2 or is_begun
        return is_whole and all(
            view.attempt == status.attempt and view.ended is None and not view.is_leaving for view in views
        )

    def victim(self) -> PodView | None:
        """The pod that the next trouble befalls, once it runs."""
        view = self.views().get(self.troubles[0].victim)
        return view if view is not None and view.node is not None else None

    def have_met(self) -> bool:
        """Whether the ranks have been told of each other, rightly."""
        views = self.views()
        attempt = self.world.status.attempt
        if len(views) < 2 or any(view.attempt != attempt or view.address is None for view in views.values()):
            return False
        if not self.facts.is_ascend:
            return all(view.annotations.get(SCHEDULER_ANNOTATION) == views[0].address for view in views.values())
        addresses = addresses_in_table(self.world)
        is_shown = all(RANK_TABLE_ANNOTATION in view.annotations for view in views.values())
        return is_shown and addresses == [views[index].address for index in sorted(views)]

    def strike(self) -> World:
        """The next trouble; its peer dies of it at once or, as happens, is heard of first."""
        trouble, world = self.troubles[0], self.world
        peer = self.views().get(1 - trouble.victim)
        has_peer = peer is not None and peer.ended is None and self.have_met()
        if trouble.peer == "before" and has_peer and self.struck is None:
            self.struck = len(self.history)
            return world.exited(peer.name, 1)
        self.troubles.pop(0)
        self.attempt = world.status.attempt
        self.see_the_pods()
        world = TROUBLES[trouble.kind](world.later(2), f"quick-worker-{trouble.victim}")
        if self.struck is not None:
            self.hear_of_the_cause(world)
        return world.exited(peer.name, 1) if trouble.peer == "after" and has_peer else world

    def see_the_pods(self) -> None:
        """Pods live longer than what is seen of them lags behind."""
        for place, world in enumerate(self.history[self.seen :], self.seen):
            if set(uids(self.world)) <= set(uids(world)):
                self.seen = place
                return

    def hear_of_the_cause(self, world: World) -> None:
        """The cause is heard of before its consequence is acted on: that is what the operator waits a moment for."""
        start, self.struck = self.struck or 0, None
        self.history[start:] = [world for _ in self.history[start:]]


def uids(world: World) -> list[str]:
    """Uids of the pods that there are."""
    return [pod["metadata"]["uid"] for pod in world.pods.values()]


def addresses_in_table(world: World) -> list[str] | None:
    """The pods of a completed rank table; None where there is none."""
    found = world.applied.get(("ConfigMap", "rings-config-quick"))
    table = {} if found is None else json.loads(found["data"]["hccl.json"])
    return [server["container_ip"] for server in table["server_list"]] if table.get("status") == "completed" else None


def assert_nobody_starts_from_an_old_table(world: World) -> None:
    """A pod that does not run yet never finds a table of other pods."""
    addresses = addresses_in_table(world)
    for pod in world.pods.values():
        view = view_pod(pod)
        if addresses is not None and view.component == "worker":
            assert view.address in addresses


def assert_goes_on(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus, facts: Facts) -> None:
    """Counters do not fall, limits hold, and no end is left."""
    assert all(after >= before for before, after in zip(counters(old), counters(new), strict=True))
    assert new.counted_restarts - new.forgiven_restarts <= facts.backoff_limit
    others = new.attempt - new.restarts - (new.training_completion_time is not None)
    assert others in ({0, 1} if facts.is_paused else {0})
    assert old.training_completion_time in {None, new.training_completion_time}
    if old.phase in {"Succeeded", "Failed"}:
        assert new == old
    assert_tells_the_truth(new)


def assert_may_be_forced(world: World, seen: tuple[PodView, ...], action: Action) -> None:
    """A pod that may still run is never taken out of the API: its twin would train beside it."""
    if isinstance(action, Delete) and action.grace_seconds == 0:
        (view,) = [pod for pod in seen if pod.uid == action.uid]
        assert view.node in world.lost_nodes
        assert view.leaves_at is not None
        assert (world.now - view.leaves_at).total_seconds() >= SETTINGS.force_delete_seconds


def assert_has_ended_as_it_must(life: Life) -> None:
    reason, counted = life.facts.end()
    status = life.world.status
    ended = condition(status, "Failed" if reason != "Succeeded" else "Complete")
    assert ended is not None
    assert (ended.status, ended.reason, status.counted_restarts) == ("True", reason, counted)


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


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
