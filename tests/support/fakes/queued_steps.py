"""A device that computes behind the host, in the place of a TrainStep and of the state that it changes.

It keeps the rules of a device's queue: a step is launched without being computed, steps end in the order in which they
were launched, and whoever asks for the result of one, or for the state, has all ended that were launched until then.
Here a step ends no sooner than that, so that what the host waits for shows in the order of events.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from arcface_faces.checkpoint import class_range
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes
from support.builders.saved_states import CLASSES, ArrayState


class QueuedResult(Future):
    """Ends the step when it is asked for."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__()
        self.end = end

    def result(self, timeout: float | None = None) -> StepResult:
        self.end()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.end()
        return super().exception(timeout)


class QueuedSteps:
    """One rank's device; `world` adds up votes, `outcome` tells loss and whether the state is updated."""

    def __init__(
        self,
        world: Any,
        outcome: Callable[[int], tuple[float, bool]] = lambda step: (float(step), True),
        clock: Callable[[], float] = time.monotonic,
        launched: int = 0,
    ) -> None:
        self.world, self.outcome, self.clock, self.launched = world, outcome, clock, launched
        self.state = QueuedState(self)
        self.events: list[str] = []
        self.waits: list[float] = []
        self.rates: list[float] = []
        self._queue: deque[tuple[int, QueuedResult, Any]] = deque()

    def launch(self, _images, _labels, rate, votes: StepVotes = NO_VOTES, wait: float = 0.0, **_given) -> QueuedResult:
        self.launched += 1
        step = self.launched
        self.events.append(f"launch {step}")
        self.waits.append(wait)
        self.rates.append(rate)
        sums = (
            self.world.all_gather([int(votes.stop), int(votes.save), votes.saving_bits, int(votes.keep)])
            .sum(axis=0)
            .tolist()
        )
        result = QueuedResult(lambda: self.end(step))
        self._queue.append((step, result, StepVotes(sums[0] > 0, sums[1] > 0, sums[2], sums[3] > 0)))
        return result

    def end(self, last: int) -> None:
        """Compute all steps up to this one."""
        while self._queue and self._queue[0][0] <= last:
            step, result, votes = self._queue.popleft()
            self.events.append(f"end {step}")
            loss, is_applied = self.outcome(step)
            if is_applied:
                self.state.arrays["stem.weight"] = np.full((2, 3), step, np.float32)
            result.set_result(StepResult(loss, 1.0, is_applied, votes, (0.0,) * self.world.size, self.clock()))


class QueuedState(ArrayState):
    """The number of the last step that was applied, in each weight."""

    def __init__(self, device: QueuedSteps) -> None:
        super().__init__(0.0, class_range(CLASSES, device.world.size, device.world.rank))
        self.device = device

    def backbone(self, world):
        self.device.end(self.device.launched)
        self.device.events.append("copy")
        return dict(super().backbone(world))

    def load(self, backbone, _momentum, _head, source):
        self.device.events.append(f"load {source[-1]}")
        self.arrays = {name: array.copy() for name, array in backbone.items()}

    def begin_anew(self, plan, world):
        self.device.events.append("begin anew")
        super().begin_anew(plan, world)

    def load_loss_scale(self, saved):
        assert saved == self.loss_scale()
