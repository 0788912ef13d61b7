"""Whether a job has come to an end that what happened to it allows, and counts what it must."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.chaos import draw, openings
from support.processes import training_jobs as played


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a job that has ended."""

    story: draw.Story
    hits: Collection[str]
    """Mishaps that met it."""
    faults: Mapping[str, int]
    """Attempts that ended by a program's own fault, by component, as the witness saw them."""
    is_alone: bool
    """Whether nothing befell its neighbours that it feels, too."""

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
        """Whether one of the stages had more faults than it may have."""
        most = self.story.back_off_limit
        worker, evaluator = self.faults.get("worker", 0) + self.opening, self.faults.get("evaluator", 0)
        return self.is_fatal or worker > most or evaluator > most

    @property
    def is_exact(self) -> bool:
        """Whether there is but one way for it to have gone."""
        is_plain = self.story.opening in {"as usual", "crashes", *draw.HARMLESS} and not self.is_fatal
        return is_plain and self.is_alone and {*self.hits} <= draw.UNDISTURBED


def objections(evidence: Evidence, status: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a job's end."""
    phase, counted = status["phase"], status.get("countedRestarts", 0)
    faults = sum(evidence.faults.values())
    if phase == "Failed" and not evidence.may_fail:
        yield f"failed without a reason to: {status.get('failure')}"
    if counted > faults + evidence.opening:
        yield f"{counted} restarts are counted, {faults} attempts ended by their own fault"
    if evidence.is_exact:
        yield from _inexact(evidence, status)
    saved = status.get("checkpoint")
    if phase == "Succeeded" and (saved is None or saved["step"] != played.CHECKPOINT["step"]):
        yield f"succeeded with the checkpoint {saved}"
    if phase == "Succeeded" and evidence.story.is_evaluated and "evaluation" not in status:
        yield "succeeded without its evaluation"


def _inexact(evidence: Evidence, status: Mapping[str, Any]) -> Iterator[str]:
    """Of a job that nothing befell but faults of its own."""
    faults, phase = sum(evidence.faults.values()), status["phase"]
    if (phase == "Failed") != evidence.may_fail:
        yield f"{phase} after {dict(evidence.faults)} faults with backoffLimit {evidence.story.back_off_limit}"
    told = status.get("restarts", 0), status.get("countedRestarts", 0)
    if phase == "Succeeded" and told != (faults, faults):
        yield f"restarts and those that count are {told} after {faults} faults"
