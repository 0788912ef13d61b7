"""What each chip is told: recorded on a fake of MindSpore's device API, whose every call must fit the real one."""

import inspect
import os
import subprocess
import sys
from functools import reduce
from typing import Any, get_args

import mindspore
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import Precision
from arcface_trainer.device import CHIPS, compute_environment, configure_device, device_target

ON_ASCEND = ["device_context.ascend.is_available()", "set_device('Ascend', 3)"]
GRAPH_O0 = "set_context(mode=0, jit_config={'jit_level': 'O0'})"
INF_NAN = {"MS_ASCEND_CHECK_OVERFLOW_MODE": "INFNAN_MODE", "INF_NAN_MODE_ENABLE": "1"}
SATURATION = {"MS_ASCEND_CHECK_OVERFLOW_MODE": "SATURATION_MODE", "INF_NAN_MODE_ENABLE": "0"}
PRECISION = "device_context.ascend.op_precision"


class Recorder:
    """MindSpore on a node with this chip: notes the calls made to it, each checked against the real signature."""

    GRAPH_MODE = mindspore.GRAPH_MODE

    def __init__(self, soc: str | None, calls: list[str] | None = None, path: str = "") -> None:
        self.soc, self.path = soc, path
        self.calls: list[str] = [] if calls is None else calls

    def __getattr__(self, name: str) -> "Recorder":
        return Recorder(self.soc, self.calls, f"{self.path}.{name}".lstrip("."))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.path == "_c_expression.MSContext.get_instance":
            return self
        if self.path.endswith("get_ascend_soc_version"):
            return self.soc
        inspect.signature(reduce(getattr, self.path.split("."), mindspore)).bind(*arguments, **named)
        texts = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in named.items())]
        self.calls.append(f"{self.path}({', '.join(texts)})")
        return self.soc is not None


@pytest.mark.parametrize(
    ("soc", "calls", "variables"),
    [
        pytest.param(
            "ascend910",
            [*ON_ASCEND, GRAPH_O0, f"{PRECISION}.precision_mode('allow_fp32_to_fp16')"],
            SATURATION,
            id="910A: fp16 alone, saturating, no HF32 to turn off",
        ),
        *(
            pytest.param(
                soc,
                [
                    *ON_ASCEND,
                    GRAPH_O0,
                    f"{PRECISION}.precision_mode('must_keep_origin_dtype')",
                    f"{PRECISION}.conv_allow_hf32(value=False)",
                    f"{PRECISION}.matmul_allow_hf32(value=False)",
                ],
                INF_NAN,
                id=soc,
            )
            for soc in ("ascend910b", "ascend910_93")
        ),
    ],
)
def test_what_a_chip_is_told(soc: str, calls: list[str], variables: dict[str, str]) -> None:
    recorder, environment = Recorder(soc), dict[str, str]()
    chip = configure_device(recorder, "ascend", 3, environment)
    assert recorder.calls == calls
    assert environment == variables
    assert chip is CHIPS[soc]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_910a_computes_fp16_only(precision: Precision) -> None:
    with pytest.raises(
        InvalidInput, match=f"^training.precision: Ascend 910A does not compute {precision}; write fp16$"
    ):
        CHIPS["ascend910"].check_precision(precision)


@pytest.mark.parametrize(
    ("soc", "precision"),
    [("ascend910", "fp16"), *((soc, each) for soc in ("ascend910b", "ascend910_93") for each in get_args(Precision))],
)
def test_a_chip_takes_trainings_in_what_it_computes(soc: str, precision: Precision) -> None:
    CHIPS[soc].check_precision(precision)


def test_another_chip_is_named() -> None:
    with pytest.raises(InvalidInput, match="this node's chip is 'ascend310p'; jobs run on ascend910, ascend910b"):
        configure_device(Recorder("ascend310p"), "ascend", 0, {})


def test_a_node_without_cards_is_told_and_worth_another_try() -> None:
    with pytest.raises(ArcFaceError, match="no Ascend card can be used") as caught:
        configure_device(Recorder(None), "ascend", 0, {})
    assert not isinstance(caught.value, InvalidInput)


def test_the_real_mindspore_takes_the_device_on_a_cpu() -> None:
    """In a process of its own: a device is set once."""
    script = (
        "import mindspore; from arcface_trainer.device import configure_device;"
        "assert configure_device(mindspore, 'ascend', 1) is None;"
        "print(*mindspore.get_current_device(), mindspore.get_context('mode'))"
    )
    environment = {**os.environ, "ARCFACE_DEVICE_TARGET": "CPU"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CPU", "1", "0"]


def test_a_machine_without_cards_says_so_before_a_device_is_set() -> None:
    script = (
        "import mindspore; from arcface_trainer.device import configure_device;configure_device(mindspore, 'ascend', 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "ArcFaceError: no Ascend card can be used: MindSpore finds no CANN and driver here" in done.stderr


def test_the_overflow_modes_are_those_that_the_real_mindspore_knows() -> None:
    source = inspect.getsource(mindspore.amp)
    assert "MS_ASCEND_CHECK_OVERFLOW_MODE" in source
    assert "SATURATION_MODE" in source


def test_the_target_is_the_jobs_unless_the_tests_switch_says_cpu() -> None:
    assert device_target("ascend", {}) == "Ascend"
    assert device_target("ascend", {"ARCFACE_DEVICE_TARGET": "CPU"}) == "CPU"
    assert device_target("cpu", {}) == "CPU"


def test_convolutions_on_cpu_avoid_the_slow_instruction_set_unless_the_user_chose() -> None:
    assert compute_environment({}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert compute_environment({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    assert compute_environment({"ARCFACE_DEVICE_TARGET": "CPU"}, "ascend")["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "ONEDNN_MAX_CPU_ISA" not in compute_environment({}, "ascend")
