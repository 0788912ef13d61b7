"""Plays a drawn day on a control plane: creates jobs, ends trainings and lets things befall them, by the clock."""

import heapq
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from arcface_api.contract.launcher_words import GangWord
from arcface_api.contract.pod_environment import ATTEMPT_LABEL, COMPONENT_LABEL, RANK_INDEX_LABEL
from arcface_api.contract.reports import ReportedFailure, TrainerReport
from arcface_api.names import API_VERSION, PLURAL
from arcface_operator.kubernetes.informer import OUR_OWN
from benchmarks.scale.day import SUSPENSION, Happening, Life, NodeLoss
from support.builders.jobs import job_document
from support.processes import training_jobs as played
from testbed.control_plane.api_answers import answer
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Eviction, Manifest, Script, label_of

NAMESPACES = 8
AGAIN_SECONDS = 2.0
"""Until an end is tried again that some pod of the gang was not there for."""
PEERS_SECONDS = 1.0
"""After which a peer of a pod on a lost node ends: its collective operations have failed."""
SCRAPE_SECONDS = 15.0
PODS_EACH = 8


def crash(rank: int) -> Ending:
    """The end of a rank that says why."""
    told = ReportedFailure(reason="RankDied", message="rank died of a bug", rank=rank, exit_code=1)
    return Ending(exit_code=1, message=TrainerReport(failure=told))


@dataclass
class Death:
    """A pod that was made to fail."""

    at: float
    namespace: str
    job: str
    pod: str
    kind: str


@dataclass(eq=False)
class Player:
    """The users of a cluster, and its misfortunes."""

    api: httpx.Client
    nodes: FakeNodes
    scrape: Callable[[], object]
    """Asks the operator for its metrics, as Prometheus does."""
    day_seconds: float = 1.0
    agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    counter: "itertools.count[int]" = field(default_factory=itertools.count)
    deaths: list[Death] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    """Names of the jobs that have ended or were removed."""
    latest: float = 0.0
    """Seconds by which something happened after its time."""
    scrapes: list[float] = field(default_factory=list)
    """Seconds that each took."""

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Have something done at a moment."""
        heapq.heappush(self.agenda, (moment, next(self.counter), action))

    def plan(self, lives: Sequence[Life], losses: Sequence[NodeLoss], began: float) -> None:
        """Put a day on the agenda; jobs that arrive at its beginning are there already."""
        for life in lives:
            if life.arrives > 0:
                self.at(began + life.arrives * self.day_seconds, lambda life=life: self.create(life))
            self.at(began + life.ends * self.day_seconds, lambda life=life: self.finish(life))
            for each in life.happenings:
                self.at(began + each.at * self.day_seconds, lambda life=life, each=each: self.happen(life, each))
        for loss in losses:
            self.at(began + loss.at * self.day_seconds, lambda loss=loss: self.lose(loss, began))
        self.at(began, self.ask_for_metrics)

    def play(self, until: float) -> None:
        """Do what is on the agenda, each at its time."""
        while self.agenda and self.agenda[0][0] < until:
            moment, _, action = heapq.heappop(self.agenda)
            if (early := moment - time.monotonic()) > 0:
                time.sleep(early)
            self.latest = max(self.latest, time.monotonic() - moment)
            action()
            self.nodes.check()
        time.sleep(max(0.0, until - time.monotonic()))

    def ask_for_metrics(self) -> None:
        """Again and again."""
        began = time.monotonic()
        self.scrape()
        self.scrapes.append(time.monotonic() - began)
        self.at(began + SCRAPE_SECONDS, self.ask_for_metrics)

    def create(self, life: Life) -> None:
        """A user applies a job."""
        evaluated = {"evaluation": {"claimName": "faces", "sets": ["lfw"]}} if life.is_evaluated else {}
        document = job_document(
            life.name,
            workers={"accelerator": "cpu", "replicas": PODS_EACH},
            runPolicy={"backoffLimit": 100, "ttlSecondsAfterFinished": 5},
            **evaluated,
        )
        answer(self.api.post(path(life), json=document))

    def finish(self, life: Life) -> None:
        """All ranks of a training end well, as soon as all of them run."""
        pods = [self.running(life, index) for index in range(PODS_EACH)]
        if life.name in self.gone:
            return
        if not all(pods):
            self.at(time.monotonic() + AGAIN_SECONDS, lambda: self.finish(life))
            return
        self.gone.add(life.name)
        for index in range(PODS_EACH):
            self.nodes.finish(namespace(life), pod_name(life, index), played.WELL)

    def running(self, life: Life, index: int) -> bool:
        """Whether a pod runs."""
        pod = self.nodes.kubelets.by_name.get((namespace(life), pod_name(life, index)))
        return pod is not None and pod.is_running and not pod.is_leaving.is_set()

    def children(self, resource: str) -> list[Manifest]:
        """Some objects of a kind that belong to jobs; the garbage collector takes its time."""
        asked = {"labelSelector": OUR_OWN, "limit": 1}
        items: list[Manifest] = answer(self.api.get(f"/api/v1/{resource}", params=asked))["items"]
        return items

    def happen(self, life: Life, each: Happening) -> None:
        """What befalls a job, unless it is gone."""
        if life.name in self.gone:
            return
        if each.kind == "removed":
            self.gone.add(life.name)
            self.api.delete(f"{path(life)}/{life.name}")
        elif each.kind == "suspended":
            self.suspend(life, is_wanted=True)
            self.at(time.monotonic() + SUSPENSION * self.day_seconds, lambda: self.suspend(life, is_wanted=False))
        elif each.kind == "deleted pod":
            self.api.delete(f"/api/v1/namespaces/{namespace(life)}/pods/{pod_name(life, each.index)}")
        elif self.running(life, each.index):
            self.fail(life, each.index, each.kind)

    def suspend(self, life: Life, *, is_wanted: bool) -> None:
        """A user suspends a job, or lets it go on; it may be gone by then."""
        change = json.dumps({"spec": {"suspend": is_wanted}})
        self.api.patch(f"{path(life)}/{life.name}", content=change, headers=MERGE)

    def fail(self, life: Life, index: int, kind: str) -> None:
        """A pod fails."""
        endings = {"crash": crash(index), "out of memory": Ending(exit_code=137, reason="OOMKilled")}
        end = Eviction() if kind == "evicted" else endings.get(kind, Ending(exit_code=137))
        place, name = namespace(life), pod_name(life, index)
        self.deaths.append(Death(time.time(), place, life.name, name, kind))
        self.nodes.order(place, name, end)

    def lose(self, loss: NodeLoss, began: float) -> None:
        """A node is lost; of each gang that had pods there another one's ranks give up soon after."""
        node = self.nodes.names[loss.node]
        here = {key for key, pod in list(self.nodes.kubelets.by_name.items()) if pod.node.name == node}
        self.set_reachable(node, is_reachable=False)
        self.at(began + loss.until * self.day_seconds, lambda: self.set_reachable(node, is_reachable=True))
        for place, job in {(place, name.rpartition("-worker-")[0]) for place, name in here if "-worker-" in name}:
            names = [f"{job}-worker-{index}" for index in range(PODS_EACH)]
            peer = next((name for name in names if (place, name) not in here), None)
            if peer is not None:
                self.at(time.monotonic() + PEERS_SECONDS, lambda place=place, peer=peer: self.give_up(place, peer))

    def set_reachable(self, node: str, *, is_reachable: bool) -> None:
        """Lose a node or bring it back, without waiting for what the control plane is told of it."""
        kubelets = self.nodes.kubelets
        kubelets.loop.call_soon_threadsafe(
            lambda: kubelets.spawn(kubelets.set_reachable(node, is_reachable=is_reachable))
        )

    def give_up(self, place: str, name: str) -> None:
        """A rank ends since its peers do not answer, if it is still there."""
        if (place, name) in self.nodes.kubelets.by_name:
            self.nodes.order(place, name, Ending(exit_code=1))


def namespace(life: Life) -> str:
    """Where a job is."""
    return f"team-{life.number % NAMESPACES}"


def path(life: Life) -> str:
    """Of the jobs beside it."""
    return f"/apis/{API_VERSION}/namespaces/{namespace(life)}/{PLURAL}"


def pod_name(life: Life, index: int) -> str:
    """Of a pod of the gang."""
    return f"{life.name}-worker-{index}"


def script_of(pod: Manifest) -> Script:
    """The life of a pod: rank 0 tells of its progress, its launcher that there is nothing new; none ends by itself."""
    if label_of(pod, COMPONENT_LABEL) == "evaluator":
        return Script(starts=0.5, runs=1.0, ending=Ending(message=played.EVALUATED))
    if label_of(pod, RANK_INDEX_LABEL) != "0":
        return Script(starts=0.5, stops=0.5)
    (owner,) = pod["metadata"]["ownerReferences"]
    word = GangWord(job_uid=owner["uid"], attempt=int(label_of(pod, ATTEMPT_LABEL)), serial=0, launch=0, pods=PODS_EACH)
    return Script(starts=0.5, stops=0.5, progress=progress_at, launcher=word)


def progress_at(seconds: float) -> dict[str, Any]:
    """What rank 0 answers: figures that change with every question."""
    step = min(1399, 1 + int(seconds))
    return {"progress": {**played.LIVE["progress"], "step": step, "loss": 40 / (1 + step)}}
