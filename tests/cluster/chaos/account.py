"""What has been seen of the jobs and pods of one namespace, and which of what must never be false was broken.

Versions of objects of one API server follow each other as numbers, whatever their kind: what a status says can be held
against the pods and the rank table that there were when it was written.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, COMPONENT_LABEL, RANK_INDEX_LABEL, SPARE
from arcface_api.contract.rank_table import RankTableDocument
from cluster.chaos.draw import ENDED
from cluster.chaos.recoveries import untrue_recoveries
from testbed.fake_nodes.played_ranks import RankDeath
from testbed.fake_nodes.scripts import label_of

Manifest = dict[str, Any]
RISING = ("attempt", "restarts", "countedRestarts", "forgivenRestarts")
TABLE, TABLE_KEY = "rings-config-quick", "hccl.json"
LATER = 10**18
"""A version after all others."""
STOPPED = 143


@dataclass(slots=True)
class PodLife:
    """A pod, from the version that it was first seen in."""

    name: str
    uid: str
    job: str
    """Uid of its owner."""
    component: str
    attempt: str
    index: str
    born: int
    address: str | None = None
    over: int = LATER
    """Version in which it had ended or was gone."""
    exit_code: int = 0
    is_taken: bool = False
    """Ended by the cluster, or being deleted when it ended."""

    def __str__(self) -> str:
        return f"{self.name} of attempt {self.attempt}"

    @property
    def has_failed(self) -> bool:
        """Whether its program ended it, and not well."""
        return not self.is_taken and self.exit_code not in {0, STOPPED}


@dataclass(slots=True)
class Account:
    """Of one namespace, in which one job at a time is called `quick`."""

    broken: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """Phases and attempts as they came."""
    pods: dict[str, PodLife] = field(default_factory=dict)
    """By uid, those that are gone included."""
    statuses: dict[str, list[tuple[int, Manifest]]] = field(default_factory=dict)
    """Of each job by its uid, with their versions."""
    gaps: int = 0
    """In what was seen of pods since the first one: for which births are told too late."""
    tables: list[tuple[int, RankTableDocument | None]] = field(default_factory=list)

    def see_job(self, kind: str, job: Manifest, at: str) -> None:
        """Counters and the checkpoint never go back, an end is never left, conditions say what the phase says."""
        if kind == "DELETED":
            return
        known = self.statuses.setdefault(job["metadata"]["uid"], [])
        before, status = known[-1][1] if known else {}, job.get("status", {})
        for name in RISING:
            if status.get(name, 0) < before.get(name, 0):
                self.broken.append(f"{name} went from {before[name]} to {status.get(name, 0)}")
        steps = [each.get("checkpoint", {}).get("step", 0) for each in (before, status)]
        if steps[1] < steps[0]:
            self.broken.append(f"the checkpoint went from step {steps[0]} to {steps[1]}")
        if before.get("phase") in ENDED and status.get("phase") != before["phase"]:
            self.broken.append(f"{before['phase']} was left for {status.get('phase')}")
        self.broken += untrue_conditions(status)
        known.append((_version(job), status))
        line = f"{status.get('phase')} attempt {status.get('attempt', 0)} launch {status.get('launch', 0)}"
        if not self.history or not self.history[-1].endswith(line):
            self.history.append(f"{at} {line}")

    def see_pod(self, kind: str, pod: Manifest) -> None:
        """No pod of an attempt is alive beside one of another, and none is doubled."""
        life = self.pods.get(pod["metadata"]["uid"]) or self._born(pod)
        state = pod["status"].get("phase")
        life.address = pod["status"].get("podIP", life.address)
        if (state in ENDED or kind == "DELETED") and life.over == LATER:
            life.over = _version(pod)
            life.exit_code, life.is_taken = _ending(pod), "deletionTimestamp" in pod["metadata"] or _is_disrupted(pod)

    def see_table(self, kind: str, table: Manifest) -> None:
        """A rank table as it was written."""
        if table["metadata"]["name"] == TABLE:
            text = "" if kind == "DELETED" else (table.get("data") or {}).get(TABLE_KEY, "")
            self.tables.append((_version(table), RankTableDocument.parse(text)))

    def lose_sight(self, uids: set[str], version: int) -> None:
        """After a gap in what was seen: the pods that there are; others are gone, nobody saw when."""
        self.gaps += bool(self.pods)
        for uid, life in self.pods.items():
            if uid not in uids and life.over == LATER:
                life.over, life.is_taken = min(life.born + 1, version), True

    def judge(self) -> list[str]:
        """What was broken, also of what can only be told when all has been seen."""
        later = [each for uid, known in self.statuses.items() for each in self._judged(uid, known)]
        return [*self.broken, *later]

    def faults(self, job: str, deaths: Sequence[RankDeath] = ()) -> dict[str, range]:
        """By component: how many faults of its own a job had, from fewest to most.

        Pods of an attempt that fail together are one fault; where each was made anew alone they are as many as pods.
        Ranks that die in a launch are one, too, and so are those that die of another's death, where they are heard of
        first. A fault of a gang whose pod is being made anew may be excused, so that launches are told apart only in
        attempts of which no pod has failed.
        """
        failed = [life for life in self.pods.values() if life.job == job and life.has_failed]
        most = Counter(life.component for life in failed)
        fewest = {(life.component, life.attempt) for life in failed}
        ended = {life.address for life in failed}
        most["worker"] += sum(not (death.ends_pod and death.address in ended) for death in deaths)
        places = {(str(death.attempt), death.launch) for death in deaths if death.is_own}
        launched = {place for place in places if ("worker", place[0]) not in fewest}
        least = Counter(component for component, _ in fewest) + Counter(worker=len(launched))
        return {component: range(least[component], count + 1) for component, count in most.items() if count}

    def _born(self, pod: Manifest) -> PodLife:
        """A new pod, beside those that are alive."""
        labels = (label_of(pod, name) for name in (COMPONENT_LABEL, ATTEMPT_LABEL, RANK_INDEX_LABEL))
        owner = str((pod["metadata"].get("ownerReferences") or [{}])[0].get("uid"))
        life = PodLife(pod["metadata"]["name"], pod["metadata"]["uid"], owner, *labels, _version(pod))
        for other in self.pods.values():
            if other.over == LATER and other.job == owner and pod["status"].get("phase") not in ENDED:
                self._compare(life, other)
        self.pods[life.uid] = life
        return life

    def _compare(self, life: PodLife, other: PodLife) -> None:
        if SPARE in {life.attempt, other.attempt}:
            return
        if life.attempt != other.attempt:
            self.broken.append(f"{life} was made while {other} was alive")
        elif (life.component, life.index) == (other.component, other.index):
            self.broken.append(f"{life} is doubled by {other}")

    def _judged(self, job: str, known: list[tuple[int, Manifest]]) -> Iterator[str]:
        """A job's statuses against pods and rank tables."""
        held, was_done = False, LATER
        for version, status in known:
            truth = {item["type"]: item["status"] == "True" for item in status.get("conditions", [])}
            if truth.get("Suspended") and (alive := self._alive(job, version)):
                yield f"Suspended is true while {alive[0]} is alive"
            if truth.get("RankTableReady") and not held and not self._is_table_whole(job, version, status):
                yield f"RankTableReady is true of attempt {status.get('attempt')}, and its table is not whole"
            held = truth.get("RankTableReady", False)
            was_done = min(was_done, version if "trainingCompletionTime" in status else LATER)
        workers = [life for life in self.pods.values() if (life.job, life.component) == (job, "worker")]
        yield from untrue_recoveries(known, workers, is_whole=not self.gaps)
        again = (life for life in self.pods.values() if life.component == "worker" and life.born > was_done)
        yield from (f"{life} was made after the training was done" for life in again if life.job == job)

    def _alive(self, job: str, version: int) -> list[PodLife]:
        return [life for life in self.pods.values() if life.job == job and life.born < version < life.over]

    def _is_table_whole(self, job: str, version: int, status: Manifest) -> bool:
        """Whether there was such a table, which somebody may have spoiled since."""
        attempt = str(status.get("attempt", 0))
        own = {life.address for life in self.pods.values() if (life.job, life.attempt) == (job, attempt)}
        total = status.get("rankTable", {}).get("total")
        return any(_lists(table, attempt, own, total) for at, table in self.tables if at < version)


def _lists(table: RankTableDocument | None, attempt: str, addresses: set[str | None], total: int | None) -> bool:
    """Whether a table is complete, of an attempt, and lists cards of no other pods than those of these addresses."""
    if table is None or (table.status, table.attempt) != ("completed", attempt):
        return False
    servers = table.server_list or []
    cards = [card for server in servers for card in server.device]
    listed = {server.container_ip for server in servers} | {card.container_ip for card in cards if card.container_ip}
    return len(cards) == total and listed <= addresses


def _version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])


def _ending(pod: Manifest) -> int:
    """Exit code of its first container that has ended, 0 where none has."""
    states = (each.get("state", {}).get("terminated") for each in pod["status"].get("containerStatuses", []))
    return next((int(state["exitCode"]) for state in states if state is not None), 0)


def _is_disrupted(pod: Manifest) -> bool:
    """Whether the cluster says that it ended the pod, or nobody saw the end."""
    status = pod["status"]
    disrupted = any(item["type"] == "DisruptionTarget" for item in status.get("conditions", []))
    unseen = any(
        each.get("state", {}).get("terminated", {}).get("reason") in {"Unknown", "ContainerStatusUnknown"}
        for each in status.get("containerStatuses", [])
    )
    return disrupted or unseen or status.get("reason") is not None


def untrue_conditions(status: Manifest) -> list[str]:
    """Conditions against the rest of the status: what each says must have happened."""
    truth = {item["type"]: item["status"] == "True" for item in status.get("conditions", [])}
    phase = status.get("phase")
    facts = {
        "Complete": phase == "Succeeded",
        "Failed": phase == "Failed",
        "CheckpointAvailable": "checkpoint" in status,
        "Suspended": phase == "Suspended",
    }
    wrong = [name for name, fact in facts.items() if truth.get(name, False) != fact]
    if truth.get("Training") and phase != "Training":
        wrong.append("Training")
    return [f"{name} is {truth.get(name)} in phase {phase}" for name in wrong]
