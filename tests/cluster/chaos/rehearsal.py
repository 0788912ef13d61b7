"""A job's life in a model of the API server, where an operator decides that may be wrong, and a witness sees it.

It takes milliseconds, so that every run of the tests proves that what must hold can be seen to be broken.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from arcface_api.contract.launcher_words import GangWord, PodWord
from arcface_api.contract.reports import ReportedFailure
from arcface_api.resource.status import CheckpointStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import HeardWords, PodView
from arcface_operator.decision.plan import Plan
from arcface_operator.settings import Settings
from cluster.chaos import draw
from cluster.chaos.account import TABLE, Account
from cluster.chaos.draw import ENDED
from cluster.chaos.verdict import Evidence, objections
from support.builders.views import make_report
from support.fakes.cluster_world import World
from support.fakes.job_facts import Facts
from support.fakes.job_life import PATIENT_SETTINGS, Life
from support.processes import training_jobs as played
from support.processes.operator_changes import Wrong
from testbed.fake_nodes.played_ranks import RankDeath

MOST_LOOKS = 100
SETTINGS = PATIENT_SETTINGS.model_copy(update={"restarts_in_place": False})
"""All pods are made anew after a fault, which gives operators that are wrong the most to do."""
LADDER_SETTINGS = PATIENT_SETTINGS.model_copy(update={"replace_seconds": 300})
"""The highest rung that may help is taken."""
RANK_DIES = "rank dies"
"""Trouble that ends no pod: launchers tell of it."""
JOB = "1"
"""Uid of the job."""
SAVED = CheckpointStatus.model_validate_json(json.dumps(played.CHECKPOINT))
HITS = {RANK_DIES: "crash", "error": "crash", "vanished": "deleted"}
FAILURE = ReportedFailure(reason="RankDied", message="m", rank=1, exit_code=1)
STORY = draw.Story(
    seed=0,
    replicas=2,
    devices=1,
    is_ascend=True,
    is_evaluated=True,
    trains_seconds=1.0,
    back_off_limit=3,
    clean_pod_policy="Running",
    opening="as usual",
    opening_rank=0,
    events=(),
)


class Rehearsal(Life):
    """One life."""

    def __init__(self, wrong: Wrong, facts: Facts, settings: Settings = SETTINGS) -> None:
        super().__init__(facts)
        self.wrong, self.facts, self.settings = wrong, facts, settings
        self.deaths: list[RankDeath] = []
        self.heard_at: datetime | None = None
        self.account, self.version = Account(), 0
        self.known: dict[str, Any] = {}
        """What the witness has seen last, by uid."""

    def become(self, world: World) -> None:
        """The world is another one, which the witness sees."""
        self.world = world
        self.history.append(world)
        self._show(world)

    def decided(self, _newness: float = 1.0) -> Plan:
        """The operator decides on what there is."""
        self.seen = len(self.history) - 1
        observed = replace(self.world.observe(report=self.report()), words=self.words())
        return self.wrong(decide, observed, self.settings, self.world.now)

    def words(self) -> HeardWords:
        """What launchers say of the present launch, to which all pods have come."""
        attempt, launch = self.world.status.attempt, self.world.status.launch
        failures = [
            PodWord(job_uid=JOB, attempt=attempt, launch=launch, rank=death.pod, failure=FAILURE)
            for death in self.deaths
            if (death.attempt, death.launch) == (attempt, launch)
        ]
        serial = len(self.deaths)
        gang = GangWord(job_uid=JOB, attempt=attempt, serial=serial, launch=launch, pods=2, failures=failures)
        return HeardWords(gang, self.heard_at or self.world.now, answered_at=self.world.now)

    def strike(self) -> World:
        """The next trouble, which may be of a rank alone."""
        if self.troubles[0].kind != RANK_DIES:
            return super().strike()
        status, per_pod = self.world.status, self.world.job.spec.workers.devices_per_worker
        rank = self.troubles.pop(0).victim * per_pod
        self.attempt = status.attempt
        self.heard_at = self.world.now
        self.deaths.append(RankDeath(JOB, status.attempt, status.launch, rank, 1))
        return self.world.later(2)

    def good_ends(self, views: dict[int, PodView]) -> list[Callable[[], World]]:
        """Nobody is done in a launch in which a rank has died."""
        return [] if self.words().gang.failures else super().good_ends(views)

    def look(self, _newness: float = 1.0) -> Plan:
        """It writes the status, and then acts, one action after the other."""
        plan = self.decided()
        self.become(self.world.written(plan.status))
        for action in plan.actions:
            self.become(self.world.after(action))
        return plan

    def report(self) -> Any:
        """What rank 0 serves: it has always saved."""
        self.step += 1
        return make_report(self.step).model_copy(update={"checkpoint": SAVED}) if self.have_met() else None

    def victim(self) -> Any:
        """Nothing befalls a gang that has nothing to lose yet."""
        return super().victim() if self.world.status.checkpoint is not None else None

    def rest(self) -> None:
        """Everybody has time; the operator looks twice before anything else happens."""
        for _ in range(MOST_LOOKS):
            version = self.version
            self.look()
            self.look()
            if self.world.status.phase in ENDED and self.version == version:
                return
            for _ in range(4):
                self.move(0)
            self.world = self.world.later(60)

    def said(self) -> list[str]:
        """All that is wrong with it."""
        self.rest()
        version = self.version
        for _ in range(3):
            self.look()
        rests = ["at rest was written"] if self.version > version else []
        status = self.world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        hits = [HITS[each.kind] for each in self.facts.troubles] + ["suspended"] * self.facts.is_paused
        faults = self.account.faults(JOB, self.deaths)
        evidence = Evidence(story=STORY, hits=hits, faults=faults, deaths=self.deaths, is_alone=True)
        return [*rests, *self.account.judge(), *objections(evidence, status)]

    def _show(self, world: World) -> None:
        """Each object that is new, another or gone, at versions of their own."""
        status = world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        pods = {pod["metadata"]["uid"]: pod for pod in world.pods.values()}
        table = world.applied.get(("ConfigMap", TABLE))
        objects = {"job": {"metadata": {"uid": JOB}, "status": status}, **pods, **({"table": table} if table else {})}
        for uid in [*self.known]:
            if uid not in objects:
                self._tell(uid, "DELETED", self.known.pop(uid))
        for uid, item in objects.items():
            if self.known.get(uid) != item:
                self.known[uid] = item
                self._tell(uid, "MODIFIED", item)

    def _tell(self, uid: str, kind: str, item: Any) -> None:
        self.version += 1
        seen = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        if uid == "job":
            self.account.see_job(kind, seen, "")
        elif uid == "table":
            self.account.see_table(kind, seen)
        else:
            self.account.see_pod(kind, seen)
