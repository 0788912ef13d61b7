from typing import Any

import pytest

from arcface_operator.preflight.spec_checks import unsupported
from support.builders.jobs import make_job

CPU = {"accelerator": "cpu"}


def test_a_plain_job_is_supported() -> None:
    assert unsupported(make_job(workers=CPU, evaluation={"claimName": "sets"}).spec) == []


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        pytest.param("spec.loss.sampleRate", {"loss": {"sampleRate": 0.1}}, id="sampling"),
        pytest.param("spec.loss.interclassFilter", {"loss": {"interclassFilter": 0.4}}, id="filter"),
        pytest.param(
            "spec.training.gradientAccumulation", {"training": {"gradientAccumulation": 2}}, id="accumulation"
        ),
        pytest.param("spec.model.initFrom", {"model": {"initFrom": "old"}}, id="fine-tuning"),
        pytest.param("spec.training.precision", {"workers": {"accelerator": "ascend"}}, id="half precision"),
    ],
)
def test_each_field_is_refused_by_its_name(field: str, spec: dict[str, Any]) -> None:
    (sentence,) = unsupported(make_job(**{"workers": CPU, **spec}).spec)
    assert sentence.startswith(f"{field}: ")


def test_cards_of_a5_are_refused_by_name() -> None:
    workers = {"accelerator": "ascend", "resourceName": "huawei.com/npu"}
    sentences = unsupported(make_job(workers=workers, training={"precision": "fp32"}).spec)
    assert sentences == [
        "spec.workers.resourceName: huawei.com/npu (A5, 950) needs rank table 2.0, not supported yet; use 910 cards"
    ]


def test_freezing_is_named_beside_fine_tuning() -> None:
    sentences = unsupported(make_job(workers=CPU, model={"initFrom": "old", "freezeEpochs": 1}).spec)
    assert [sentence.split(":")[0] for sentence in sentences] == ["spec.model.initFrom", "spec.model.freezeEpochs"]
