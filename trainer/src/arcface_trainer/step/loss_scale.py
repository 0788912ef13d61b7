"""The dynamic loss scale of float16 training, all of it inside the step's graph.

float16 loses gradients below 6e-8 and overflows above 65,504, so the gradient runs backwards through the trunk
multiplied by a scale, and is divided by it in float32 (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2). The
scale halves where a step overflows and doubles after `GROWTH_INTERVAL` steps without, as PyTorch's GradScaler does by
default, down to 1 as MindSpore's DynamicLossScaler and up to 2^24 as NVIDIA's apex. Powers of two change no digit.

A chip that saturates (910A) has neither Inf nor NaN to find: it is asked whether it has overflowed, in MindSpore's own
way (nn/wrap/loss_scale.py of 2.10, start_overflow_check and get_overflow_status): its flag is cleared before the
forward pass and read after the backward pass. Nobody has run that on a card yet.
"""

from mindspore import Parameter, Tensor, float32, int32, nn, ops
from mindspore.ops.operations.math_ops import NPUClearFloatStatusV2, NPUGetFloatStatusV2

from arcface_faces.checkpoint import LossScale

INITIAL = 2.0**16
FLOOR = 1.0
CEILING = 2.0**24
GROWTH_INTERVAL = 2000
"""Steps."""
_STATUS_WORDS = 8
"""Numbers in the flag of an Ascend chip; all are 0 where nothing has overflowed."""


class DynamicLossScale(nn.Cell):
    """The scale and the steps since it last changed; the same on every rank, since all come to the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(Tensor(INITIAL, float32), name="loss_scale", requires_grad=False)
        self.good_steps = Parameter(Tensor(0, int32), name="good_steps", requires_grad=False)

    def construct(self, is_finite: Tensor) -> Tensor:
        """Go on after a step; returns the scale of the next one.

        Args:
            is_finite: whether the step's numbers were, on every rank.
        """
        good_steps = ops.where(is_finite, self.good_steps + 1, ops.zeros_like(self.good_steps))
        is_due = good_steps >= GROWTH_INTERVAL
        grown = ops.where(is_due, ops.clamp(2 * self.scale, max=CEILING), self.scale)
        scale = ops.where(is_finite, grown, ops.clamp(self.scale / 2, min=FLOOR))
        ops.assign(self.good_steps, ops.where(is_due, ops.zeros_like(good_steps), good_steps))
        ops.assign(self.scale, scale)
        return scale

    def save(self) -> LossScale:
        """What a checkpoint keeps."""
        return LossScale(scale=self.scale.asnumpy().item(), good_steps=self.good_steps.asnumpy().item())

    def load(self, saved: LossScale) -> None:
        """Go on from there."""
        self.scale.set_data(Tensor(saved.scale, float32))
        self.good_steps.set_data(Tensor(saved.good_steps, int32))


class OverflowFlag(nn.Cell):
    """The flag that an Ascend chip raises when a number saturates, and keeps up until it is cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.clear = NPUClearFloatStatusV2()
        self.get = NPUGetFloatStatusV2()

    def cleared_before(self, x: Tensor) -> Tensor:
        """The same, to be computed with after the flag is down."""
        return ops.depend(x, self.clear(_status()))

    def raised_by(self, results: list[Tensor]) -> Tensor:
        """float32 (1,): 1 where something has saturated up to these results, else 0."""
        found = self.get(ops.depend(_status(), results))
        return (found != 0).any().astype(float32).reshape((1,))


def _status() -> Tensor:
    """What both operators take in order to have a place in the graph; its values mean nothing."""
    return Tensor([0] * _STATUS_WORDS, int32)
