"""Layers that cast what their operators take: the one place where the precision of a network's trunk is made.

Mixed precision as InsightFace's arcface_torch has it (backbones/iresnet.py, trunk under autocast, `x.float()` before
the last layers): weights, their momentum and running statistics stay float32 and are cast where an operator takes them.
Convolutions, PReLU and the sums of blocks compute in the lower precision; PReLU from bfloat16 in float32, since
MindSpore 2.10 has no other. Batch normalisation takes and gives float16
and keeps scale, shift, statistics and its sums in float32, as Ascend's kernels do (BNTrainingReduce: float16 in,
float32 sums, MindSpore's ops/_op_impl/tbe/bn_training_reduce_ds.py; CANN's ops-nn, norm/batch_norm_v3/README.md: x in
float16 beside weight, bias and running statistics in float32); from bfloat16 it computes in float32. Nobody has run
that on a card yet.

A device without a lower precision, as MindSpore's CPU, rounds to it and computes in float32: the same graph with the
same cast points, forwards and backwards, since a cast's derivative casts the gradient back through the same types.
"""

from typing import Any

from mindspore import Tensor, bfloat16, float16, float32, nn
from mindspore.common.initializer import Initializer

from arcface_api.resource.spec import Precision
from arcface_trainer.device import Chip

BATCH_NORM = {"eps": 1e-5, "momentum": 0.9}
"""MindSpore's momentum is the share of the old statistics."""
_LOWER = {"fp16": float16, "bf16": bfloat16}


def trunk_cast(precision: Precision, chip: Chip | None) -> nn.Cell:
    """What casts a trunk's tensors on this chip, None being a CPU."""
    return nn.Identity() if precision == "fp32" else _Cast(precision, is_rounding=chip is None)


class _Cast(nn.Cell):
    """To a lower precision, or to float32 numbers that it can hold."""

    def __init__(self, precision: Precision, *, is_rounding: bool) -> None:
        super().__init__()
        self.lower = _LOWER[precision]
        self.is_rounding = is_rounding

    def construct(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        lowered = x.astype(self.lower)
        return lowered.astype(float32) if self.is_rounding else lowered

    def extend_repr(self) -> str:
        """MindSpore takes the graph of a layer for that of another one whose arguments look the same."""
        return f"{self.lower}, is_rounding={self.is_rounding}"


class Conv2d(nn.Conv2d):
    """Convolution without bias, padded unless told otherwise so that stride 1 keeps the size."""

    def __init__(
        self, cast: nn.Cell, inputs: int, outputs: int, kernel: int, weight_init: Initializer, **options: Any
    ) -> None:
        usual = {"pad_mode": "pad", "padding": kernel // 2, "has_bias": False}
        super().__init__(inputs, outputs, kernel, weight_init=weight_init, **(usual | options))
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        return self.conv2d(self.cast(x), self.cast(self.weight))


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose own numbers stay float32."""

    def __init__(self, cast: nn.Cell, channels: int) -> None:
        super().__init__(channels, **BATCH_NORM)
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, channels, H, W), the same after it."""
        return super().construct(_supported(self.cast(x)))


class PReLU(nn.PReLU):
    """PReLU with a slope for each channel."""

    def __init__(self, cast: nn.Cell, channels: int) -> None:
        super().__init__(channels)
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, channels, H, W), the same after it."""
        return self.prelu(_supported(self.cast(x)), _supported(self.cast(self.w)))


def _supported(x: Tensor) -> Tensor:
    """What MindSpore 2.10's batch normalisation and PReLU take: float16 and float32, but no bfloat16."""
    return x.astype(float32) if x.dtype == bfloat16 else x
