"""A job's life in a model of the API server, where an operator decides that may be wrong, and a witness sees it.

It takes milliseconds, so that every run of the tests proves that what must hold can be seen to be broken.
"""

import json
from typing import Any

from arcface_api.resource.status import CheckpointStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Plan
from cluster.chaos import draw
from cluster.chaos.account import ENDED, TABLE, Account
from cluster.chaos.verdict import Evidence, objections
from support.builders.views import make_report
from support.fakes.cluster_world import World
from support.fakes.job_facts import Facts
from support.fakes.job_life import PATIENT_SETTINGS, Life
from support.processes import training_jobs as played
from support.processes.operator_changes import Wrong

MOST_LOOKS = 100
SETTINGS = PATIENT_SETTINGS.model_copy(update={"restarts_in_place": False})
"""All pods are made anew after a fault, which gives operators that are wrong the most to do."""
JOB = "1"
"""Uid of the job."""
SAVED = CheckpointStatus.model_validate_json(json.dumps(played.CHECKPOINT))
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

    def __init__(self, wrong: Wrong, facts: Facts) -> None:
        super().__init__(facts)
        self.wrong, self.facts = wrong, facts
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
        return self.wrong(decide, self.world.observe(report=self.report()), SETTINGS, self.world.now)

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
        hits = ["crash" for _ in self.facts.troubles] + ["suspended"] * self.facts.is_paused
        evidence = Evidence(story=STORY, hits=hits, faults=self.account.faults(JOB), is_alone=True)
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
