"""Learning rate of a step. Imports nothing of MindSpore.

Warm-up and polynomial decay follow InsightFace's `lr_scheduler.py` (linear growth, then linear decay to zero).
"""

import math
from dataclasses import dataclass

from arcface_api.resource.spec import ScheduleSpec


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate as a function of the updates already made."""

    spec: ScheduleSpec
    base_rate: float
    steps_per_epoch: int
    epochs: int

    @property
    def total_steps(self) -> int:
        """Updates of the whole training."""
        return self.steps_per_epoch * self.epochs

    def rate(self, step: int) -> float:
        """Rate of the update that follows `step` updates."""
        warmup = self.spec.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.base_rate * step / warmup
        if self.spec.type == "step":
            milestones = self.spec.milestones or []
            passed = sum(step >= epoch * self.steps_per_epoch for epoch in milestones)
            return self.base_rate * self.spec.gamma**passed
        done = (step - warmup) / (self.total_steps - warmup)
        if self.spec.type == "cosine":
            return self.base_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.base_rate * (1 - done)
