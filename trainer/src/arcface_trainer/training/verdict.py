"""One verdict on the numbers of each step: go on, skip and rescale, roll back, or diverged. Pure.

It is taken from what all ranks have alike, the sums of a step's votes, so that all of them come to the same verdict at
the same step. A step whose numbers are not finite has changed nothing (`step.update`), so a few of them are left out
and no more is done. Many of them, or a loss that does not move at all, mean that the weights are beyond help. Both show
within a log interval.

A gradient of the backbone that overflows is no sign of divergence by itself where the loss scale has halved for it: the
next step may fit. Where the scale has not moved (at its floor, while the backbone is frozen, in precisions without one)
it is one, as a loss that is not finite always is. What no scale cures, such as NaN from another cause, looks the same
at first, so a row of steps that are left out ends within the window, whatever the scale does: a fresh run has the scale
halve no more than 16 times.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum

from arcface_trainer.step import votes
from arcface_trainer.step.faults import Fault

WINDOW = 20
"""Steps that are looked at together; log lines are as far apart."""
MOST_SKIPS = 10
"""Of the window, from which on the run has gone wrong; none of them has changed the weights."""
FLAT = 1e-6
"""Spread of the losses of a window, as a share of them, that float32's rounding explains: other images, same loss.

Where a step draws its classes, their number moves, and with it the loss of embeddings that tell nothing: by the
logarithm of how many others there are than an image's own. The spread is that of the loss above it.
"""


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
    classes: float = 1.0
    """That it compared with, a whole number of them."""
    fault: Fault | None = None
    """What was not finite, and where, in a step that was left out."""
    may_fit: bool = False
    """Whether the loss scale has halved for it, so that the next step may fit."""


@dataclass(frozen=True, slots=True)
class History:
    """The last steps, oldest first, and what has been done about such before."""

    class_count: int
    """Classes of all ranks, with which a step compares that does not tell with how many."""
    has_rolled_back: bool = False
    recent: tuple[JudgedStep, ...] = ()
    loss_scale: float | None = None
    """After the last step; None where there is none, and until a step has told it."""

    @property
    def skips(self) -> list[JudgedStep]:
        """Steps of the window that were left out and that no loss scale cures."""
        return [judged for judged in self.recent if judged.fault is not None and not judged.may_fit]

    @property
    def left_out(self) -> int:
        """How many of them there are, with those that a loss scale may cure."""
        return sum(judged.fault is not None for judged in self.recent)

    @property
    def first_skip(self) -> JudgedStep:
        """The first one of the row of left out steps, halvings among them, that led to what no loss scale cures."""
        first = self.recent.index(self.skips[0]) if self.skips else 0
        while first > 0 and self.recent[first - 1].fault is not None:
            first -= 1
        return self.recent[first]

    @property
    def is_flat(self) -> bool:
        """Whether the loss has moved with the number of classes alone over the whole window, above chance.

        A network that has learnt may well stand still: its loss is below that of even odds, without any margin.
        """
        if len(self.recent) < WINDOW or any(judged.loss <= math.log(judged.classes) for judged in self.recent):
            return False
        above = [judged.loss - math.log(max(1.0, judged.classes - 1)) for judged in self.recent]
        return max(above) - min(above) <= FLAT * max(judged.loss for judged in self.recent)

    def with_step(self, judged: JudgedStep, loss_scale: float | None) -> "History":
        """The history after one more step and with the loss scale that the next one has."""
        return replace(self, recent=(*self.recent, judged)[-WINDOW:], loss_scale=loss_scale)


class RollBackDue(Exception):  # noqa: N818 - no error: another try, from an earlier state
    """All ranks have come to the verdict that they must go back."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.cause)
        self.verdict = verdict


def verdict(result: votes.StepResult, step: int, history: History) -> tuple[Verdict, History]:
    """What follows from the step that came after `step` updates, and the history for the next one."""
    fault = None if result.is_applied else result.fault
    may_fit = fault is not None and _may_fit_at_a_lower_scale(result, history.loss_scale)
    classes = history.class_count if result.compared is None else result.compared
    history = history.with_step(JudgedStep(step, result.loss, classes, fault, may_fit), result.loss_scale)
    if history.left_out == WINDOW or len(history.skips) >= MOST_SKIPS:
        first = history.first_skip
        cause = f"{first.fault} at step {first.step} and {history.left_out} of {len(history.recent)} steps up to {step}"
        return gone_wrong(cause, first, history), history
    if fault is not None:
        return Verdict(Action.SKIP, f"{fault} at step {step}", step), history
    if history.is_flat:
        first = history.recent[0]
        cause = f"the loss stands still at {result.loss:.4f} on all ranks from step {first.step} to {step}"
        return gone_wrong(cause, first, history), history
    return Verdict(Action.GO_ON), history


def _may_fit_at_a_lower_scale(result: votes.StepResult, scale_before: float | None) -> bool:
    """Whether a gradient alone has overflowed and the loss scale has fallen; that of a first step is taken to have."""
    is_scaled_alone = math.isfinite(result.loss) and result.fault.is_scaled
    if not is_scaled_alone or result.loss_scale is None:
        return False
    return scale_before is None or result.loss_scale < scale_before


def gone_wrong(cause: str, first: JudgedStep, history: History) -> Verdict:
    """The verdict where the weights are beyond help, since this step."""
    action = Action.DIVERGED if history.has_rolled_back else Action.ROLL_BACK
    return Verdict(action, cause, first.step, None if first.fault is None else first.fault.rank)
