"""Carries the verdicts on the steps out and compares the first loss with theory; tells log and report of both."""

import logging
import math
from dataclasses import dataclass, field, replace

from arcface_api.errors import Diverged
from arcface_api.initial_loss import expected_initial_loss, margin_cost
from arcface_api.resource.spec import LossSpec
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step import faults, loss_scale, votes
from arcface_trainer.training import verdict

LOG = logging.getLogger(__name__)
REMEDY = "lower training.optimizer.learningRate or raise training.schedule.warmupEpochs"
STANDARD_ERRORS = 5.0
SLACK = 1.0
"""What a fresh network may be off by, beside the scatter of a small batch."""


@dataclass(slots=True)
class LossCheck:
    """What looks wrong with the numbers of a run so far."""

    plan: TrainingPlan
    history: verdict.History = field(init=False)
    _warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = verdict.History(self.plan.class_count)

    @property
    def warnings(self) -> list[str]:
        """What looks wrong without ending the training."""
        history = self.history
        skips = history.skips
        if not skips:
            return self._warnings
        last = f"the last one at step {skips[-1].step}: {skips[-1].fault}"
        return [*self._warnings, f"{history.left_out} of the last {len(history.recent)} steps were left out, {last}"]

    def check(self, result: votes.StepResult, step: int) -> None:
        """Judge the step that followed `step` updates.

        Raises:
            RollBackDue: where the training must go on from an earlier state.
            Diverged: where it has done that before.
        """
        if step == 0 and self.plan.model.init_from is None:
            self.check_first_loss(result.loss)
        found, self.history = verdict.verdict(result, step, self.history)
        _end_stretch(found)
        if found.action is verdict.Action.SKIP:
            self._tell_of_skip(found, result)

    def check_embeddings(self, ranks: list[int], step: int) -> None:
        """Judge the network after `step` updates, whose embeddings were not finite in a verification on these ranks.

        The training's were: what differs are the averaged statistics of the normalisations. Some update before has
        spoilt them, so the state after `step` is not one to go back to.

        Raises:
            RollBackDue, Diverged: where there are such ranks, as `check`.
        """
        if ranks:
            fault = faults.Fault(
                "the embeddings of the verification", ranks[0] if len(ranks) == 1 else None, is_scaled=False
            )
            first = verdict.JudgedStep(step - 1, math.nan, fault=fault)
            _end_stretch(verdict.gone_wrong(f"{fault} after step {step}", first, self.history))

    def begin_again(self) -> None:
        """Judge anew after a roll-back, the only one there will be."""
        self.history = replace(self.history, has_rolled_back=True, recent=(), loss_scale=None)

    def _tell_of_skip(self, found: verdict.Verdict, result: votes.StepResult) -> None:
        """A line in the log; an alarm where the loss scale can fall no further.

        All ranks come to the same verdict, so rank 0, which alone tells what is no warning, does for all of them.
        """
        scale = "" if result.loss_scale is None else f" loss_scale={result.loss_scale:g}"
        LOG.info("step is left out, %s loss=%g%s", found.cause, result.loss, scale)
        if result.loss_scale == loss_scale.FLOOR and math.isfinite(result.loss):
            self._warn_of_floor()

    def _warn_of_floor(self) -> None:
        """Alarm, once, where gradients overflow and the loss scale can help no more."""
        warning = (
            f"the loss scale is down to its floor of {loss_scale.FLOOR:g} since gradients overflow in float16: lower "
            "training.optimizer.learningRate, or take training.precision bf16 where the chip computes it"
        )
        if warning not in self._warnings:
            self._warn(warning)

    def check_first_loss(self, measured: float) -> None:
        """A cheap test of data, labels and head before hours are spent."""
        plan = self.plan
        warning = initial_loss_warning(
            measured, plan.loss, plan.class_count, plan.model.embedding_size, plan.total_batch_size
        )
        if warning:
            self._warn(warning)

    def _warn(self, warning: str) -> None:
        LOG.warning(warning)
        self._warnings = [*self._warnings, warning]  # a new list: another thread may be writing the report


def _end_stretch(found: verdict.Verdict) -> None:
    """Raise what the loop goes back or ends by, where the verdict is that it must."""
    if found.action is verdict.Action.ROLL_BACK:
        raise verdict.RollBackDue(found)
    if found.action is verdict.Action.DIVERGED:
        raise Diverged(f"{found.cause}, although the training went back once: {REMEDY}", found.rank)


def initial_loss_warning(
    measured: float, loss: LossSpec, class_count: int, embedding_size: int, images: int
) -> str | None:
    """One line with the likely cause where the first loss is off; None where it is as expected.

    Args:
        measured: loss before the first update.
        loss: kind and size of the margin.
        class_count: identities.
        embedding_size: length of the embedding.
        images: images that the loss is a mean over.
    """
    expected = expected_initial_loss(loss, class_count, embedding_size, images)
    scatter = loss.scale / math.sqrt(embedding_size * images)
    # The largest of C cosines of unit vectors is smaller than that of normal numbers by this share, to first order.
    narrower = abs(expected - margin_cost(loss)) * math.log(class_count) / (2 * embedding_size)
    if abs(measured - expected) <= SLACK + STANDARD_ERRORS * scatter + narrower:
        return None
    cause = (
        "embeddings or centres are not random (all images alike or undecoded, or a wrong initialisation)"
        if not measured < expected
        else "the margin is not applied, or labels or centres are not those of a fresh run"
    )
    return f"first loss is {measured:.3f}, a fresh network should have {expected:.3f}: likely cause: {cause}"
