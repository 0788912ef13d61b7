"""One verdict on the numbers of each step: go on, skip and rescale, roll back, or diverged. Pure.

It is taken from what all ranks have alike, the sums of a step's votes, so that all of them come to the same verdict at
the same step. A step whose numbers are not finite has changed nothing (`step.update`), so a few of them are left out
and no more is done. Many of them, or a loss that does not move at all, mean that the weights are beyond help. Both show
within a log interval.

A gradient that overflows while the loss scale is above its floor is no sign of divergence: the scale halves and the
next step may fit. At the floor, and in precisions without a scale, it is one, as a loss that is not finite always is.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum

from arcface_trainer.step import loss_scale, votes
from arcface_trainer.step.faults import Fault

WINDOW = 20
"""Steps that are looked at together; log lines are as far apart."""
MOST_SKIPS = 10
"""Of the window, from which on the run has gone wrong; none of them has changed the weights."""
FLAT = 1e-6
"""Spread of the losses of a window, as a share of them, that float32's rounding explains: other images, same loss."""


class Action(Enum):
    """What follows from a step's numbers."""

    GO_ON = "go on"
    SKIP = "skip and rescale"
    """The step counts, its update was left out; where there is a loss scale, it has halved."""
    ROLL_BACK = "roll back"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a step, and why."""

    action: Action
    cause: str = ""
    """The tensor, the rank and the step that it began with."""
    first_step: int = 0
    """Updates before the first step of those that went wrong: the state after so many was still good."""
    rank: int | None = None
    """Where it began; None where several ranks had it at once, or none by itself."""


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """What later verdicts depend on."""

    step: int
    """Updates before it."""
    loss: float
    fault: Fault | None = None
    """What was not finite, and where, in a step that no loss scale cures."""


@dataclass(frozen=True, slots=True)
class History:
    """The last steps, oldest first, and what has been done about such before."""

    chance_loss: float
    """Loss of a network that knows nothing, without any margin; a network that has learnt may well stand still."""
    has_rolled_back: bool = False
    recent: tuple[JudgedStep, ...] = ()

    @property
    def skips(self) -> list[JudgedStep]:
        """Steps of the window that were left out."""
        return [judged for judged in self.recent if judged.fault is not None]

    @property
    def is_flat(self) -> bool:
        """Whether the loss of a network that knows nothing has not moved over the whole window."""
        losses = [judged.loss for judged in self.recent]
        is_bad = len(losses) == WINDOW and min(losses) > self.chance_loss
        return is_bad and max(losses) - min(losses) <= FLAT * max(losses)

    def with_step(self, judged: JudgedStep) -> "History":
        """The history after one more step."""
        return replace(self, recent=(*self.recent, judged)[-WINDOW:])


class RollBackDue(Exception):  # noqa: N818 - no error: another try, from an earlier state
    """All ranks have come to the verdict that they must go back."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.cause)
        self.verdict = verdict


def chance_loss(class_count: int) -> float:
    """Cross-entropy of even odds."""
    return math.log(class_count)


def verdict(result: votes.StepResult, step: int, history: History) -> tuple[Verdict, History]:
    """What follows from the step that came after `step` updates, and the history for the next one."""
    fault = None if result.is_applied else result.fault
    if fault is not None and _may_fit_at_a_lower_scale(result):
        return Verdict(Action.SKIP, f"{fault} at step {step}", step), history
    history = history.with_step(JudgedStep(step, result.loss, fault))
    if len(history.skips) >= MOST_SKIPS:
        first = history.skips[0]
        cause = f"{first.fault} at step {first.step} and {MOST_SKIPS} of {len(history.recent)} steps up to {step}"
        return _gone_wrong(cause, first, history), history
    if fault is not None:
        return Verdict(Action.SKIP, f"{fault} at step {step}", step), history
    if history.is_flat:
        first = history.recent[0]
        cause = f"the loss stands still at {result.loss:.4f} on all ranks from step {first.step} to {step}"
        return _gone_wrong(cause, first, history), history
    return Verdict(Action.GO_ON), history


def _may_fit_at_a_lower_scale(result: votes.StepResult) -> bool:
    """Whether a gradient alone has overflowed and the loss scale can still fall."""
    is_gradient_alone = math.isfinite(result.loss) and result.fault.is_gradient
    return is_gradient_alone and result.loss_scale is not None and result.loss_scale > loss_scale.FLOOR


def _gone_wrong(cause: str, first: JudgedStep, history: History) -> Verdict:
    action = Action.DIVERGED if history.has_rolled_back else Action.ROLL_BACK
    return Verdict(action, cause, first.step, None if first.fault is None else first.fault.rank)
