"""Whether a job has come to an end that what happened to it allows, and counts what it must."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.chaos import draw, openings
from support.processes import training_jobs as played
from testbed.fake_nodes.played_ranks import RankDeath

FALLS = {"NotLaunched", "NotReplaced"}
"""Causes of restarts that follow another one in vain, and do not count."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a job that has ended."""

    story: draw.Story
    hits: Collection[str]
    """Mishaps that met it."""
    faults: Mapping[str, range]
    """By component, from fewest to most, as the witness saw them."""
    is_alone: bool
    """Whether nothing befell its neighbours that it feels, too."""
    deaths: Collection[RankDeath] = ()
    """Of ranks, as they were played."""
    sizes: Collection[int] = ()
    """Of an elastic gang, as its statuses told them."""

    @property
    def opening(self) -> int:
        """Faults that its beginning may have been, beside those that pods show."""
        return int(openings.has_opening(self.story) and self.story.opening in draw.UNSEEN_FAULTS)

    @property
    def is_fatal(self) -> bool:
        """Whether something happened that no other attempt cures."""
        return bool(draw.FATAL & {*self.hits}) or self.story.opening == "image invalid"

    @property
    def may_fail(self) -> bool:
        """Whether one of the stages may have had more faults than it may have."""
        worker = self._most("worker") + self.opening
        return self.is_fatal or max(worker, self._most("evaluator")) > self.story.back_off_limit

    @property
    def must_fail(self) -> bool:
        """Whether one of them has had more for certain."""
        return any(faults.start > self.story.back_off_limit for faults in self.faults.values())

    @property
    def total(self) -> range:
        """Faults of both stages."""
        return range(
            sum(each.start for each in self.faults.values()), sum(each[-1] for each in self.faults.values()) + 1
        )

    def _most(self, component: str) -> int:
        return self.faults[component][-1] if component in self.faults else 0

    @property
    def is_exact(self) -> bool:
        """Whether there is but one way for it to have gone."""
        is_plain = (
            self.story.opening in {"as usual", "crashes", "found standing still", *draw.HARMLESS} and not self.is_fatal
        )
        return is_plain and self.is_alone and {*self.hits} <= draw.UNDISTURBED


def objections(evidence: Evidence, status: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a job's end."""
    phase, counted, most = status["phase"], status.get("countedRestarts", 0), evidence.total[-1]
    if phase == "Failed" and not evidence.may_fail:
        yield f"failed without a reason to: {status.get('failure')}"
    if counted > most + evidence.opening:
        yield f"{counted} restarts are counted after at most {most} faults"
    if evidence.is_exact:
        yield from _inexact(evidence, status)
    yield from _needless(evidence, [each["rung"] for each in status.get("recoveries", [])])
    story = evidence.story
    smallest = story.replicas if story.min_replicas is None else story.min_replicas
    if not all(smallest <= size <= story.replicas for size in evidence.sizes):
        yield f"a gang of {smallest} to {story.replicas} pods had {sorted(evidence.sizes)}"
    saved = status.get("checkpoint")
    if phase == "Succeeded" and (saved is None or saved["step"] != played.CHECKPOINT["step"]):
        yield f"succeeded with the checkpoint {saved}"
    if phase == "Succeeded" and evidence.story.is_evaluated and "evaluation" not in status:
        yield "succeeded without its evaluation"


def _needless(evidence: Evidence, rungs: Sequence[str]) -> Iterator[str]:
    """Rungs that nothing led to."""
    launches = {(death.attempt, death.launch) for death in evidence.deaths}
    if rungs.count("InPlace") > len(launches):
        yield f"{rungs.count('InPlace')} times InPlace, and ranks died in {len(launches)} launches"
    if "OnePod" in rungs and evidence.story.replicas == 1:
        yield "OnePod of a gang of one pod"
    if "Elastic" in rungs and evidence.story.min_replicas is None:
        yield "Elastic without minReplicas"


def _inexact(evidence: Evidence, status: Mapping[str, Any]) -> Iterator[str]:
    """Of a job that nothing befell but faults of its own."""
    phase, total = status["phase"], evidence.total
    if phase == "Succeeded" and evidence.must_fail:
        yield f"{phase} after {total} faults with backoffLimit {evidence.story.back_off_limit}"
    restarts, counted = status.get("restarts", 0), status.get("countedRestarts", 0)
    falls = sum(each["cause"] in FALLS for each in status.get("recoveries", []))
    if phase == "Succeeded" and (counted not in total or restarts != counted + falls):
        yield f"{restarts} restarts, {counted} of which count, after {total} faults"
