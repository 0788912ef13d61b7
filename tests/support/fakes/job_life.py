"""A job and its cluster, and what must hold of them at every moment."""

import json
from collections.abc import Callable

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION, SCHEDULER_ANNOTATION
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView, view_pod
from arcface_operator.decision.plan import Action, Delete, Plan
from support.builders.jobs import make_job
from support.builders.views import ASCEND, SETTINGS, make_report, worker_names
from support.decision_table import assert_tells_the_truth, counters
from support.fakes.cluster_world import World
from support.fakes.job_facts import TROUBLES, VERDICTS, Facts

EVALUATOR = "quick-evaluate"
PATIENT = {"startupDeadlineSeconds": 10**9, "stallSeconds": 10**9}
PATIENT_SETTINGS = SETTINGS.model_copy(update={"partial_gang_seconds": 1e9, "replace_seconds": 0})
"""What is seen may be far older than any cache: nobody is to let go for it.

All pods are made anew at each fault: while one alone is, a fault may be the same loss, seen again, and is excused, so
that the end would hang on when it is seen (`decision/recovery/test_one_pod.py`).
"""


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
        assert without_ready(new) == without_ready(old)
    assert_tells_the_truth(new)


def without_ready(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """A status but for Ready, which names what keeps objects of a job that has ended."""
    return status.model_copy(update={"conditions": [each for each in status.conditions if each.type != "Ready"]})


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
