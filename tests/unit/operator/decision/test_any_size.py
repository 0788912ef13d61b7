"""Nodes come and go in any order, at any moment of an elastic job: its size stays within bounds, and it ends whole."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, COMPONENT_LABEL
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Create, Plan
from arcface_operator.manifests.metadata import Manifest
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_report
from support.fakes.cluster_world import World

PODS, LEAST = 4, 2
NODES = frozenset(f"node-{index}" for index in range(PODS))
PATIENT = {"startupDeadlineSeconds": 10**9, "stallSeconds": 10**9}
JOB = make_job(workers={"replicas": PODS, "minReplicas": LEAST}, runPolicy=PATIENT, uid="1")


class Cluster:
    """Nodes for one pod each, a scheduler that looks at one pod after the other, and what befalls them by a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.world = World(job=JOB)
        self.up = set(NODES)
        self.step = 0

    def plan(self) -> Plan:
        self.step += 1
        report = make_report(self.step) if self.all_run() else None
        return decide(self.world.observe(report=report), SETTINGS, self.world.now)

    def all_run(self) -> bool:
        status = self.world.status
        own = [pod for pod in self.workers() if pod["metadata"]["labels"][ATTEMPT_LABEL] == str(status.attempt)]
        runs = [pod for pod in own if pod["status"]["phase"] == "Running"]
        is_told = status.phase in {"Starting", "Training"}
        return is_told and len(runs) == self.world.job.gang.replicas

    def workers(self) -> list[Manifest]:
        pods = self.world.pods.values()
        ranks = (pod for pod in pods if pod["metadata"]["labels"][COMPONENT_LABEL] == "worker")
        return [pod for pod in ranks if pod["metadata"]["labels"][ATTEMPT_LABEL] != "spare"]

    def look(self) -> None:
        """The operator looks, acts, and may die in the midst of it."""
        plan = self.plan()
        assert_within_bounds(self, plan)
        done = self.draw.randint(0, len(plan.actions)) if self.draw.random() < 0.2 else len(plan.actions)
        self.world = self.world.carried_out(plan, plan.actions[:done])

    def schedule(self) -> None:
        """The scheduler looks at one pod."""
        waiting = [name for name, pod in self.world.pods.items() if "nodeName" not in pod["spec"]]
        if not waiting:
            return
        name, taken = self.draw.choice(waiting), {pod["spec"].get("nodeName") for pod in self.world.pods.values()}
        free = sorted(self.up - taken)
        self.world = self.world.started(name, free[0]) if free else self.world.unschedulable(name)

    def lose(self) -> None:
        """A node is gone with its pods."""
        if not self.up:
            return
        node = self.draw.choice(sorted(self.up))
        self.up.remove(node)
        kept = {name: pod for name, pod in self.world.pods.items() if pod["spec"].get("nodeName") != node}
        self.world = replace(self.world, pods=kept)

    def bring_back(self) -> None:
        if self.up != NODES:
            self.up.add(self.draw.choice(sorted(NODES - self.up)))

    def leave(self) -> None:
        """A pod that was asked to has left."""
        leaving = [name for name, pod in self.world.pods.items() if "deletionTimestamp" in pod["metadata"]]
        if leaving:
            self.world = self.world.pod_gone(self.draw.choice(leaving))

    def stop(self) -> None:
        """A rank is stopped by somebody."""
        running = [pod["metadata"]["name"] for pod in self.workers() if pod["status"]["phase"] == "Running"]
        if running:
            self.world = self.world.exited(self.draw.choice(running), 143)

    def suspend(self) -> None:
        self.world = self.world.with_spec(suspend=self.draw.random() < 0.3)

    def wait(self) -> None:
        self.world = self.world.later(self.draw.choice([1, 10, 40, 130, 700]))

    def go_on(self) -> None:
        """The next thing that happens."""
        often: list[Callable[[], None]] = [self.look, self.schedule, self.leave, self.look, self.schedule, self.wait]
        seldom = [self.bring_back, self.lose] * 4
        self.draw.choice([*often * 40, *seldom, self.stop, self.suspend])()

    def rest(self) -> None:
        """All nodes are back, and nothing befalls anybody any more, until all pods train."""
        self.up, self.world = set(NODES), self.world.with_spec(suspend=False)
        for _ in range(400):
            plan = self.plan()
            assert_within_bounds(self, plan)
            self.world = self.world.carried_out(plan).swept().later(30)
            for _ in self.world.pods:
                self.schedule()
            workers = self.world.status.workers
            if self.world.status.phase == "Training" and workers is not None and workers.summary == "4/4":
                return
        pytest.fail(f"never whole again: {self.world.status.to_json()}")


def assert_within_bounds(cluster: Cluster, plan: Plan) -> None:
    before, after = cluster.world.status, plan.status
    size = PODS if after.elastic is None or after.elastic.attempt != after.attempt else after.elastic.pods
    assert LEAST <= size <= PODS
    assert (after.counted_restarts, after.phase == "Failed") == (0, False)
    assert after.attempt >= before.attempt
    made = [action.manifest["metadata"]["labels"][ATTEMPT_LABEL] for action in plan.actions if is_pod(action)]
    ranks = [attempt for attempt in made if attempt != "spare"]
    present = {pod["metadata"]["labels"][ATTEMPT_LABEL] for pod in cluster.workers()}
    assert present | set(ranks) == present or len(present | set(ranks)) == 1, "pods of two attempts side by side"
    assert len(ranks) <= size
    spare = [attempt for attempt in made if attempt == "spare"]
    assert not spare or (after.phase == "Training" and len(spare) <= PODS - size)


def is_pod(action: object) -> bool:
    return isinstance(action, Create) and action.manifest["kind"] == "Pod"


@pytest.fixture(scope="module")
def sizes() -> set[int]:
    """Of all gangs that the draws meet."""
    return set()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_befalls_its_nodes_the_gang_is_whole_in_the_end(seed: int, sizes: set[int]) -> None:
    cluster = Cluster(seed)
    for _ in range(1000):
        cluster.go_on()
        sizes.add(cluster.world.job.gang.replicas)
    cluster.rest()
    for name in [pod["metadata"]["name"] for pod in cluster.workers()]:
        cluster.world = cluster.world.exited(name, 0)
    for _ in range(10):
        cluster.world = cluster.world.carried_out(cluster.plan()).swept().later(10)
    assert cluster.world.status.phase == "Succeeded"
    assert [name for name in cluster.world.pods if "spare" in name] == []


def test_the_draws_have_met_gangs_of_all_sizes(sizes: set[int]) -> None:
    assert sizes == {2, 3, 4}
