"""The estimate as people read it."""

import pytest

from arcface_operator.preflight.estimate import estimate
from arcface_operator.preflight.plan_text import plan_text, size
from support.builders.jobs import make_job
from support.builders.training_sets import EIGHT, MS1MV2


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (4 * 65_156_160, "248.6 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_have_a_binary_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_the_text_has_one_figure_a_line() -> None:
    text = plan_text(estimate(make_job(**EIGHT).spec, MS1MV2))
    lines = dict(line.rsplit("  ", 1) for line in text.splitlines())
    figures = {name.strip(): value for name, value in lines.items()}
    assert figures["backbone parameters"] == "65,156,160"
    assert figures["steps in all"] == "113,720"
    assert figures["expected first loss"] == "46.03"
    assert figures["peaks, allGather"] == "4.0 KiB, 32.0 KiB"
    assert figures["gradients, allReduce"] == "248.5 MiB, 248.5 MiB"
    one = 4 * (2 * 65_156_160 - 512 + 61_056 + 2 * 8 * 10_718 * 512)
    assert figures["copy while a checkpoint is written"] == size(one)
    assert figures["newest states in its memory, where there is room"] == size(2 * one)
    assert figures["claim of the checkpoints, 4 at once"] == size(
        4 * 4 * (2 * 65_156_160 - 512 + 61_056 + 2 * 85_742 * 512)
    )


def test_the_first_loss_of_a_fine_tuning_is_no_figure() -> None:
    text = plan_text(estimate(make_job(model={"initFrom": {"claimName": "models"}}).spec, MS1MV2))
    assert [line for line in text.splitlines() if line.startswith("expected first loss") and "fresh network's" in line]


def test_micro_batches_are_told_with_what_is_sent_for_each() -> None:
    spec = make_job(**EIGHT, training={"gradientAccumulation": 4}).spec
    lines = dict(line.rsplit("  ", 1) for line in plan_text(estimate(spec, MS1MV2)).splitlines())
    figures = {name.strip(): value.strip() for name, value in lines.items()}
    assert figures["images per update"] == "1,024, by each rank in 4 parts"
    assert figures["peaks, allGather, 4 times"] == "1.0 KiB, 8.0 KiB"
    assert figures["traffic of a rank in a step, handed over and received"] == "250.8 MiB, 252.6 MiB"


def test_a_rank_alone_has_no_traffic() -> None:
    text = plan_text(estimate(make_job().spec, MS1MV2))
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("traffic")] == ["none"]


def test_an_elastic_gang_has_figures_of_device_and_host_for_its_smallest_size() -> None:
    workers = {"accelerator": "ascend", "replicas": 4}
    assert "minReplicas" not in plan_text(estimate(make_job(workers=workers).spec, MS1MV2))
    plan = estimate(make_job(workers={**workers, "minReplicas": 1}).spec, MS1MV2)
    lines = [line for line in plan_text(plan).splitlines() if "minReplicas" in line]
    assert [line.split("  ")[-1].strip() for line in lines] == [
        size(plan.memory_when_small),
        size(plan.host_when_small),
    ]
