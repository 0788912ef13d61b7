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
    assert figures["claim of the checkpoints, 4 at once"] == size(4 * 4 * (2 * 65_156_160 + 61_056 + 2 * 85_742 * 512))


def test_the_first_loss_of_a_fine_tuning_is_no_figure() -> None:
    text = plan_text(estimate(make_job(model={"initFrom": {"claimName": "models"}}).spec, MS1MV2))
    assert [line for line in text.splitlines() if line.startswith("expected first loss") and "fresh network's" in line]


def test_a_rank_alone_has_no_traffic() -> None:
    text = plan_text(estimate(make_job().spec, MS1MV2))
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("traffic")] == ["none"]
