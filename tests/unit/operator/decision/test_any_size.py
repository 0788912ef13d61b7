"""Nodes come, go and fall silent, ranks die in pods that stay, in any order and at any moment of a job.

Pods are deleted, the job is suspended, the operator dies. An elastic gang's size stays within bounds, and it has all
nodes that answer in the end; one of fixed size has all of its pods. No restart is counted that no death of a rank asks
for.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

import pytest

from arcface_api.contract.launcher_words import GangWord, LaunchCall, PodWord
from arcface_api.contract.pod_environment import (
    ATTEMPT_LABEL,
    COMPONENT_LABEL,
    LAUNCH_ANNOTATION,
    RANK_INDEX_LABEL,
)
from arcface_api.contract.reports import ReportedFailure
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.observation import HeardWords
from arcface_operator.decision.plan import Create, Plan
from arcface_operator.decision.recovery.ladder import is_open
from arcface_operator.manifests.metadata import Manifest
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_report
from support.fakes.cluster_world import World

PODS, LEAST = 4, 2
NODES = frozenset(f"node-{index}" for index in range(PODS))
PATIENT = {"startupDeadlineSeconds": 10**9, "stallSeconds": 10**9, "backoffLimit": 1000}
ELASTIC = make_job(workers={"replicas": PODS, "minReplicas": LEAST}, runPolicy=PATIENT, uid="1")
FIXED = make_job(workers={"replicas": PODS}, runPolicy=PATIENT, uid="1")
KILLED = ReportedFailure(reason="RankDied", message="rank 0 was killed", exit_code=137)


class Cluster:
    """Nodes for one pod each, a scheduler that looks at one pod after the other, and what befalls them by a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.is_elastic = seed % 2 == 0
        self.least = LEAST if self.is_elastic else PODS
        self.world = World(job=ELASTIC if self.is_elastic else FIXED)
        self.up = set(NODES)
        self.step = 0
        self.watched_since = self.world.now
        self.is_heard = seed > 1
        """Whether the operator gets through to the launchers."""
        self.dead = dict[str, int]()
        """Launch whose ranks have ended, by the uid of their pod, which goes on."""
        self.deaths = 0
        """Of ranks in whatever way."""

    def plan(self) -> Plan:
        self.step += 1
        report = make_report(self.step) if self.all_work() else None
        observed = replace(self.world.observe(report=report), watched_since=self.watched_since, words=self.words())
        lost = self.world.lost_nodes & nodes_in_question(observed, SETTINGS, self.world.now)
        return decide(replace(observed, lost_nodes=lost), SETTINGS, self.world.now)

    def words(self) -> HeardWords | None:
        """What the launchers say by that of pod 0: how many are at the newest launch, and whose ranks have ended."""
        attempt, there = self.world.status.attempt, self.running()
        if not self.is_heard or not any(index_of(pod) == 0 for pod in there):
            return None
        newest = max(map(launch_of, there))
        met = [pod for pod in there if launch_of(pod) == newest]
        failures = [
            PodWord(job_uid="1", attempt=attempt, launch=newest, rank=index_of(pod), failure=KILLED)
            for pod in met
            if self.dead.get(pod["metadata"]["uid"]) == newest
        ]
        word = GangWord(attempt=attempt, serial=0, launch=newest, pods=len(met), failures=failures)
        return HeardWords(word, self.world.now)

    def running(self) -> list[Manifest]:
        """Pods of the present attempt that run, on nodes that answer."""
        own = [pod for pod in self.workers() if attempt_of(pod) == str(self.world.status.attempt)]
        runs = [pod for pod in own if pod["status"]["phase"] == "Running"]
        return [pod for pod in runs if pod["spec"].get("nodeName") not in self.world.lost_nodes]

    def all_work(self) -> bool:
        """Whether all ranks are there, of one launch, and have met."""
        there, status = self.running(), self.world.status
        alive = [pod for pod in there if self.dead.get(pod["metadata"]["uid"]) != launch_of(pod) == status.launch]
        is_told = status.phase in {"Starting", "Training"}
        return is_told and len(alive) == self.world.job.gang.replicas

    def workers(self) -> list[Manifest]:
        pods = self.world.pods.values()
        ranks = (pod for pod in pods if pod["metadata"]["labels"][COMPONENT_LABEL] == "worker")
        return [pod for pod in ranks if attempt_of(pod) != "spare"]

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

    def die(self) -> None:
        """A rank is killed: its launcher says so where it is heard, else its pod ends with it."""
        there = self.running()
        if not there:
            return
        pod, self.deaths = self.draw.choice(there), self.deaths + 1
        if self.is_heard:
            self.dead[pod["metadata"]["uid"]] = launch_of(pod)
        else:
            self.world = self.world.exited(pod["metadata"]["name"], 137)

    def suspend(self) -> None:
        self.world = self.world.with_spec(suspend=self.draw.random() < 0.3)

    def resume(self) -> None:
        self.world = self.world.with_spec(suspend=False)

    def wait(self) -> None:
        self.world = self.world.later(self.draw.choice([1, 10, 40, 130, 700]))

    def go_on(self) -> None:
        """The next thing that happens; what a gang of fixed size lacks comes back sooner, since it waits for all."""
        often: list[Callable[[], None]] = [self.look, self.schedule, self.leave, self.look, self.schedule, self.wait]
        silence = [self.fall_silent, self.answer_again, self.taint] * 2
        seldom = [*[self.bring_back, self.lose] * 4, *silence, self.delete, self.stop, self.suspend, *[self.die] * 6]
        soon = [] if self.is_elastic else [self.bring_back, self.answer_again, self.resume] * 10
        self.draw.choice([*often * 40, *seldom, *soon])()

    def rest(self) -> None:
        """All nodes are back, but for one that may stay silent for ever, until a pod trains on each that answers.

        A job that has never trained waits for all, and so does one of fixed size.
        """
        may_lack = self.is_elastic and self.world.status.progress is not None
        silent = frozenset(sorted(self.world.lost_nodes)[:1] if may_lack else ())
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
                and not is_open(self.world.status)
            ):
                return
        pytest.fail(f"never whole again: {self.world.status.to_json()}")


def assert_within_bounds(cluster: Cluster, plan: Plan) -> None:
    before, after = cluster.world.status, plan.status
    size = PODS if after.elastic is None or after.elastic.attempt != after.attempt else after.elastic.pods
    assert cluster.least <= size <= PODS
    assert after.counted_restarts <= cluster.deaths
    assert after.phase != "Failed"
    assert after.attempt >= before.attempt
    made = [attempt_of(action.manifest) for action in plan.actions if is_pod(action)]
    ranks = [attempt for attempt in made if attempt != "spare"]
    present = {attempt_of(pod) for pod in cluster.workers()}
    assert present | set(ranks) == present or len(present | set(ranks)) == 1, "pods of two attempts side by side"
    assert len(ranks) <= size
    spare = [attempt for attempt in made if attempt == "spare"]
    assert not spare or (after.phase == "Training" and len(spare) <= PODS - size)


def is_pod(action: object) -> TypeGuard[Create]:
    return isinstance(action, Create) and action.manifest["kind"] == "Pod"


def attempt_of(pod: Manifest) -> str:
    attempt: str = pod["metadata"]["labels"][ATTEMPT_LABEL]
    return attempt


def index_of(pod: Manifest) -> int:
    return int(pod["metadata"]["labels"][RANK_INDEX_LABEL])


def launch_of(pod: Manifest) -> int:
    return LaunchCall.parse(pod["metadata"].get("annotations", {}).get(LAUNCH_ANNOTATION, "")).launch


@pytest.fixture(scope="module")
def met() -> set[tuple[bool, int, str]]:
    """Whether elastic, size and the newest rung of all gangs that the draws meet."""
    return set()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_befalls_it_the_gang_is_whole_in_the_end(seed: int, met: set[tuple[bool, int, str]]) -> None:
    cluster = Cluster(seed)
    for _ in range(1000):
        cluster.go_on()
        rungs = [recovery.rung for recovery in cluster.world.status.recoveries[-1:]]
        met.update((cluster.is_elastic, cluster.world.job.gang.replicas, rung) for rung in rungs)
    cluster.rest()
    for name in [pod["metadata"]["name"] for pod in cluster.workers()]:
        cluster.world = cluster.world.exited(name, 0)
    for _ in range(10):
        cluster.world = cluster.world.carried_out(cluster.plan()).swept().later(30)
    assert cluster.world.status.phase == "Succeeded"
    assert [name for name in cluster.world.pods if "spare" in name] == []


def test_the_draws_have_met_gangs_of_all_sizes_and_all_rungs(met: set[tuple[bool, int, str]]) -> None:
    assert {size for is_elastic, size, _ in met if is_elastic} == {2, 3, 4}
    assert {rung for is_elastic, _, rung in met if is_elastic} == {"InPlace", "OnePod", "WholeGang", "Elastic"}
    assert {(size, rung) for is_elastic, size, rung in met if not is_elastic} == {
        (PODS, "InPlace"),
        (PODS, "OnePod"),
        (PODS, "WholeGang"),
    }
