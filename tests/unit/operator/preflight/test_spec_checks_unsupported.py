from typing import Any

import pytest

from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.unsupported import doubtful_precision
from arcface_operator.preflight.spec_checks import unsupported
from support.builders.jobs import make_job

CPU = {"accelerator": "cpu"}


def test_a_plain_job_is_supported() -> None:
    assert unsupported(make_job(workers=CPU, evaluation={"claimName": "sets"}).spec) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("machine", ["module", "half", "card"])
def test_910a_is_refused_what_it_does_not_compute(machine: str, precision: str) -> None:
    assert unsupported(on_machine(machine, precision)) == [
        f"spec.training.precision: nodes of accelerator-type {machine} have Ascend 910A cards, which compute no "
        f"{precision}; write fp16"
    ]


@pytest.mark.parametrize(
    ("machine", "precision"),
    [
        ("module", None),
        ("module", "fp16"),
        ("module-910b-8", "fp32"),
        ("module-a3-16", "bf16"),
        ("card-910b-2", "fp32"),
    ],
)
def test_a_machine_may_have_what_it_computes(machine: str, precision: str | None) -> None:
    assert unsupported(on_machine(machine, precision)) == []


@pytest.mark.parametrize(
    ("workers", "precision", "is_doubtful"),
    [
        ({"accelerator": "ascend"}, "fp32", True),
        ({"accelerator": "ascend", "resourceName": "huawei.com/ascend-1980"}, "bf16", True),
        ({"accelerator": "ascend"}, "fp16", False),
        ({"accelerator": "ascend"}, None, False),
        (CPU, "fp32", False),
    ],
)
def test_a_job_that_names_no_machine_is_told_what_a_910a_does_not_compute(
    workers: dict[str, str], precision: str | None, *, is_doubtful: bool
) -> None:
    spec = make_job(workers=workers, training={"precision": precision} if precision else {}).spec
    assert unsupported(spec) == []
    sentence = doubtful_precision(spec.workers, spec.precision)
    assert (sentence is not None) == is_doubtful
    assert sentence is None or sentence.startswith(f"training.precision: {precision} ends the ranks as soon as they ")


def test_a_job_that_names_its_machine_is_in_no_doubt() -> None:
    spec = on_machine("module-910b-8", "fp32")
    assert doubtful_precision(spec.workers, spec.precision) is None


@pytest.mark.parametrize("cards", [3, 5, 6, 7, 16])
@pytest.mark.parametrize("machine", ["module", "half"])
def test_cards_that_make_up_no_rings_of_910a_are_refused_before_pods_exist(machine: str, cards: int) -> None:
    assert unsupported(on_machine(machine, None, devicesPerWorker=cards)) == [
        f"spec.workers.devicesPerWorker: nodes of accelerator-type {machine} join 1, 2, 4 or 8 cards; write one of "
        "these"
    ]


@pytest.mark.parametrize(
    ("machine", "cards"), [("module", 8), ("half", 4), ("card", 3), ("module-910b-8", 3), ("module-a3-16", 16)]
)
def test_other_numbers_of_cards_are_the_schedulers_matter(machine: str, cards: int) -> None:
    assert unsupported(on_machine(machine, None, devicesPerWorker=cards)) == []


def on_machine(machine: str, precision: str | None, **workers: Any) -> ArcFaceTrainingJobSpec:
    template = {"spec": {"nodeSelector": {"accelerator-type": machine}}}
    return make_job(
        workers={"accelerator": "ascend", "template": template, **workers},
        training={"precision": precision} if precision else {},
    ).spec


def test_cards_of_a5_are_refused_by_name() -> None:
    workers = {"accelerator": "ascend", "resourceName": "huawei.com/npu"}
    sentences = unsupported(make_job(workers=workers).spec)
    assert sentences == [
        "spec.workers.resourceName: huawei.com/npu (A5, 950) needs rank table 2.0, not supported yet; use 910 cards"
    ]
