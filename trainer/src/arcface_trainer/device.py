"""Where accelerators differ: what MindSpore must be told on each kind, every setting with its source.

This module does not import MindSpore, which reads some of the settings when it is imported: `compute_environment` comes
before that import, `configure_device` after it, before the first tensor. Nobody has run the Ascend half on a card yet;
the tests hold the calls against the names and values that MindSpore 2.10 accepts.
"""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import Precision

ERRORS_ONLY = "3"
DEVICE_TARGET = "ARCFACE_DEVICE_TARGET"
"""The one switch of tests: CPU here lets ranks of an Ascend job compute on a CPU; all else stays as on Ascend."""
OVERFLOW_MODE = "MS_ASCEND_CHECK_OVERFLOW_MODE"
CANN_INF_NAN_MODE = "INF_NAN_MODE_ENABLE"


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A generation of Ascend cards and how MindSpore is set up on it."""

    name: str
    precisions: tuple[Precision, ...]
    """Precisions that its matrix unit computes."""
    precision_mode: Literal["allow_fp32_to_fp16", "must_keep_origin_dtype"]
    """What becomes of float32 convolutions and matrix products (the last layer, the head); vectors keep theirs.

    Values: `mindspore.device_context.ascend.op_precision.precision_mode`, 2.10.
    """
    has_hf32: bool
    """Whether float32 convolutions run in HF32 (11 bits of mantissa) unless told otherwise (`conv_allow_hf32`)."""
    saturates: bool
    """Whether an overflow becomes the greatest number instead of Inf, so that `isfinite` sees nothing.

    Atlas training products know no other mode; A2 and later default to Inf/NaN, and MindSpore and CANN must be told
    alike (msprobe, docs/en/overflow_check/mindspore_overflow_check_instruct.md).
    """
    jit_level: Literal["O0", "O1"]
    """O2 (GraphEngine, the default on 910A) is deprecated and compiles at run time; O1's automatic fusion is called
    experimental by MindSpore's reference (`JitConfig`), so O0 until somebody has measured both.
    """

    def check_precision(self, precision: Precision) -> None:
        """InvalidInput where a training asks for what the chip does not compute."""
        if precision not in self.precisions:
            able = " or ".join(self.precisions)
            raise InvalidInput(f"training.precision: {self.name} does not compute {precision}; write {able}")


ASCEND_910A = Chip(
    name="Ascend 910A",
    precisions=("fp16",),
    # Its cube unit has fp16 only: under the default, must_keep_origin_dtype, a float32 convolution has no kernel.
    precision_mode="allow_fp32_to_fp16",
    has_hf32=False,
    saturates=True,
    jit_level="O0",
)
ASCEND_910B = Chip(
    name="Ascend 910B (A2)",
    precisions=("fp32", "fp16", "bf16"),
    precision_mode="must_keep_origin_dtype",
    has_hf32=True,
    saturates=False,
    jit_level="O0",
)
ASCEND_910C = Chip(
    name="Ascend 910C (A3)",
    precisions=("fp32", "fp16", "bf16"),
    precision_mode="must_keep_origin_dtype",
    has_hf32=True,
    saturates=False,
    jit_level="O0",
)
CHIPS = {"ascend910": ASCEND_910A, "ascend910b": ASCEND_910B, "ascend910_93": ASCEND_910C}
"""By the names of MindSpore's `MSContext.get_ascend_soc_version` (2.10: custom_compiler/setup.py, train/model.py)."""


def device_target(accelerator: str, environment: Mapping[str, str] = os.environ) -> str:
    """What `mindspore.set_device` is told: Ascend or CPU."""
    return environment.get(DEVICE_TARGET, "Ascend") if accelerator == "ascend" else "CPU"


def compute_environment(environment: Mapping[str, str], accelerator: str) -> dict[str, str]:
    """Settings of a process that computes on this accelerator; what the user has set stays."""
    settings = {"GLOG_v": ERRORS_ONLY}
    if device_target(accelerator, environment) == "CPU":
        # On AVX-512 hosts oneDNN's choice for MindSpore's layouts is its reference code, 20 to 100 times slower.
        settings["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    return settings | dict(environment)


def configure_device(
    mindspore: Any,
    accelerator: str,
    device: int,
    environment: MutableMapping[str, str] = os.environ,
) -> Chip | None:
    """Take a process's device and set MindSpore up for it; None on a CPU, which needs no more.

    Args:
        mindspore: the package itself.
        accelerator: of the job.
        device: number of the card as this container counts them. Only msrun's start may leave it out
            (`mindspore.set_device`): without it every rank of a pod would take card 0.
        environment: where variables are set that MindSpore and CANN read when the card is opened.

    Raises:
        ArcFaceError: where there is no card.
        InvalidInput: for a chip that is not known.
    """
    target = device_target(accelerator, environment)
    if target == "Ascend" and not mindspore.device_context.ascend.is_available():
        raise ArcFaceError("no Ascend card can be used: MindSpore finds no CANN and driver here; see npu-smi info")
    mindspore.set_device(target, device)
    if target == "CPU":
        mindspore.set_context(mode=mindspore.GRAPH_MODE)
        return None
    chip = _chip_of(mindspore)
    mindspore.set_context(mode=mindspore.GRAPH_MODE, jit_config={"jit_level": chip.jit_level})
    op_precision = mindspore.device_context.ascend.op_precision
    op_precision.precision_mode(chip.precision_mode)
    if chip.has_hf32:
        op_precision.conv_allow_hf32(value=False)
        op_precision.matmul_allow_hf32(value=False)
    environment.update(_overflow_environment(chip))
    return chip


def _chip_of(mindspore: Any) -> Chip:
    """The chip of the device that has been set."""
    found = mindspore._c_expression.MSContext.get_instance().get_ascend_soc_version()  # noqa: SLF001 - no public name
    chip = CHIPS.get(found)
    if chip is None:
        raise InvalidInput(f"this node's chip is {found!r}; jobs run on {', '.join(CHIPS)}: correct the nodeSelector")
    return chip


def _overflow_environment(chip: Chip) -> dict[str, str]:
    """How overflows show: MindSpore's mode and CANN's, which must agree."""
    if chip.saturates:
        return {OVERFLOW_MODE: "SATURATION_MODE", CANN_INF_NAN_MODE: "0"}
    return {OVERFLOW_MODE: "INFNAN_MODE", CANN_INF_NAN_MODE: "1"}
