"""Judges the numbers of the steps: the first loss against theory, all of them for being finite.

A gradient that overflows while the loss scale is above its floor is no sign of divergence: the scale halves and the
next step may fit. At the floor, and in precisions without a scale, it is one, as a loss that is not finite always is.
"""

import logging
import math
from dataclasses import dataclass, field

from arcface_api.errors import Diverged
from arcface_api.initial_loss import expected_initial_loss, margin_cost
from arcface_api.resource.spec import LossSpec
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step import loss_scale, votes

LOG = logging.getLogger(__name__)
SKIPS_IN_A_ROW = 10
"""Steps without finite numbers after which the run has diverged; none of them has changed the weights."""
STANDARD_ERRORS = 5.0
SLACK = 1.0
"""What a fresh network may be off by, beside the scatter of a small batch."""


@dataclass(slots=True)
class LossCheck:
    """What looks wrong with the numbers of a run so far."""

    plan: TrainingPlan
    warnings: list[str] = field(default_factory=list)
    """What looks wrong without ending the training."""
    skips_in_a_row: int = 0

    def check(self, result: votes.StepResult, step: int) -> None:
        """Judge the step that followed `step` updates; Diverged when too many in a row were not finite."""
        if step == 0 and self.plan.model.init_from is None:
            self.check_first_loss(result.loss)
        if result.is_applied:
            self.skips_in_a_row = 0
            return
        if result.loss_scale is not None and math.isfinite(result.loss):
            if result.loss_scale > loss_scale.FLOOR:
                LOG.info("step is left out, the gradient overflows step=%d loss_scale=%g", step, result.loss_scale)
                return
            self._warn_of_floor()
        self.skips_in_a_row += 1
        LOG.warning("step is left out, loss or gradient is not finite step=%d loss=%s", step, result.loss)
        if self.skips_in_a_row >= SKIPS_IN_A_ROW:
            raise Diverged(
                f"loss or gradient were not finite in {SKIPS_IN_A_ROW} steps in a row up to step {step}: lower "
                "training.optimizer.learningRate or raise training.schedule.warmupEpochs"
            )

    def _warn_of_floor(self) -> None:
        """Alarm, once, where gradients overflow and the loss scale can help no more."""
        warning = (
            f"the loss scale is down to its floor of {loss_scale.FLOOR:g} since gradients overflow in float16: lower "
            "training.optimizer.learningRate, or take training.precision bf16 where the chip computes it"
        )
        if warning not in self.warnings:
            LOG.warning(warning)
            self.warnings = [*self.warnings, warning]  # a new list: another thread may be writing the report

    def check_first_loss(self, measured: float) -> None:
        """A cheap test of data, labels and head before hours are spent."""
        plan = self.plan
        warning = initial_loss_warning(
            measured, plan.loss, plan.class_count, plan.model.embedding_size, plan.total_batch_size
        )
        if warning:
            LOG.warning(warning)
            self.warnings = [*self.warnings, warning]  # a new list: another thread may be writing the report


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
    expected = expected_initial_loss(loss, class_count, embedding_size)
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
