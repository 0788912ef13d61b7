"""Nodes come, go and fall silent in any order, at any moment of an elastic job: its size stays within bounds.

Pods are deleted, the job is suspended, the operator dies: the gang has all nodes that answer in the end.
"""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from arcface_api.contract.launcher_words import GangWord
from arcface_api.contract.pod_environment import ATTEMPT_LABEL, COMPONENT_LABEL
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.observation import HeardWords
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
        self.watched_since = self.world.now
        self.is_heard = seed % 4 > 0
        """Whether the operator gets through to the launchers."""

    def plan(self) -> Plan:
        self.step += 1
        report = make_report(self.step) if self.all_run() else None
        observed = replace(self.world.observe(report=report), watched_since=self.watched_since, words=self.words())
        lost = self.world.lost_nodes & nodes_in_question(observed, SETTINGS, self.world.now)
        return decide(replace(observed, lost_nodes=lost), SETTINGS, self.world.now)

    def words(self) -> HeardWords | None:
        """All launchers are at the present launch."""
        status, pods = self.world.status, self.world.job.gang.replicas
        word = GangWord(attempt=status.attempt, serial=0, launch=status.launch, pods=pods)
        return HeardWords(word, self.world.now) if self.is_heard and self.all_run() else None

    def all_run(self) -> bool:
        status = self.world.status
        own = [pod for pod in self.workers() if pod["metadata"]["labels"][ATTEMPT_LABEL] == str(status.attempt)]
        runs = [pod for pod in own if pod["status"]["phase"] == "Running"]
        is_told = status.phase in {"Starting", "Training"}
        is_cut_off = any(pod["spec"].get("nodeName") in self.world.lost_nodes for pod in own)
        return is_told and not is_cut_off and len(runs) == self.world.job.gang.replicas

    def workers(self) -> list[Manifest]:
        pods = self.world.pods.values()
        ranks = (pod for pod in pods if pod["metadata"]["labels"][COMPONENT_LABEL] == "worker")
        return [pod for pod in ranks if pod["metadata"]["labels"][ATTEMPT_LABEL] != "spare"]

    def look(self) -> None:
        """The operator looks, acts, and may die in the midst of it; the next one has not asked anybody before."""
        plan = self.plan()
        assert_within_bounds(self, plan)
        done = self.draw.randint(0, len(plan.actions)) if self.draw.random() < 0.2 else len(plan.actions)
        self.world = self.world.carried_out(plan, plan.actions[:done])
        self.watched_since = self.watched_since if done == len(plan.actions) else self.world.now

    def schedule(self) -> None:
        """The scheduler looks at one pod."""
        waiting = [name for name, pod in self.world.pods.items() if "nodeName" not in pod["spec"]]
        if not waiting:
            return
        name, taken = self.draw.choice(waiting), {pod["spec"].get("nodeName") for pod in self.world.pods.values()}
        free = sorted(self.up - taken - self.world.lost_nodes)
        self.world = self.world.started(name, free[0]) if free else self.world.unschedulable(name)

    def lose(self) -> None:
        """A node is gone with its pods."""
        if not self.up:
            return
        node = self.draw.choice(sorted(self.up))
        self.up.remove(node)
        self.world = replace(self.world, lost_nodes=self.world.lost_nodes - {node})
        kept = {name: pod for name, pod in self.world.pods.items() if pod["spec"].get("nodeName") != node}
        self.world = replace(self.world, pods=kept)

    def bring_back(self) -> None:
        if self.up != NODES:
            self.up.add(self.draw.choice(sorted(NODES - self.up)))

    def fall_silent(self) -> None:
        """A node does not answer any more; what becomes of its pods nobody tells."""
        self.world = replace(self.world, lost_nodes=self.world.lost_nodes | {self.draw.choice(sorted(NODES))} & self.up)

    def answer_again(self) -> None:
        silent = sorted(self.world.lost_nodes)
        self.world = replace(self.world, lost_nodes=frozenset(silent[1:]))

    def taint(self) -> None:
        """Kubernetes asks the pods of silent nodes to leave."""
        for name, pod in self.world.pods.items():
            if pod["spec"].get("nodeName") in self.world.lost_nodes and "deletionTimestamp" not in pod["metadata"]:
                self.world = self.world.pod_deleted(name)

    def delete(self) -> None:
        """Somebody deletes a pod."""
        if self.world.pods:
            self.world = self.world.pod_deleted(self.draw.choice(sorted(self.world.pods)))

    def leave(self) -> None:
        """A pod that was asked to has left."""
        pods = self.world.pods.items()
        there = ((name, pod) for name, pod in pods if pod["spec"].get("nodeName") not in self.world.lost_nodes)
        leaving = [name for name, pod in there if "deletionTimestamp" in pod["metadata"]]
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
        silence = [self.fall_silent, self.answer_again, self.taint] * 2
        seldom = [*[self.bring_back, self.lose] * 4, *silence, self.delete, self.stop, self.suspend]
        self.draw.choice([*often * 40, *seldom])()

    def rest(self) -> None:
        """All nodes are back, but for one that may stay silent for ever, until a pod trains on each that answers.

        A job that has never trained waits for all.
        """
        silent = frozenset(sorted(self.world.lost_nodes)[:1] if self.world.status.progress is not None else ())
        self.up = set(NODES)
        self.world = replace(self.world.with_spec(suspend=False), lost_nodes=silent)
        self.taint()
        for _ in range(400):
            plan = self.plan()
            assert_within_bounds(self, plan)
            self.world = self.world.carried_out(plan).swept().later(30)
            for _ in self.world.pods:
                self.schedule()
            workers = self.world.status.workers
            if (
                self.world.status.phase == "Training"
                and workers is not None
                and workers.summary == f"{PODS - len(silent)}/{PODS}"
            ):
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
        cluster.world = cluster.world.carried_out(cluster.plan()).swept().later(30)
    assert cluster.world.status.phase == "Succeeded"
    assert [name for name in cluster.world.pods if "spare" in name] == []


def test_the_draws_have_met_gangs_of_all_sizes(sizes: set[int]) -> None:
    assert sizes == {2, 3, 4}
