"""The published recipes as examples: what InsightFace's schedules and first losses say of them; whether they fit."""

from pathlib import Path

import pytest

from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import estimate
from arcface_operator.preflight.job_file import read_job
from support.builders.training_sets import MS1MV2

ROOT = Path(__file__).parents[3]
MS1MV3 = Counts(identities=93_431, images=5_179_510)
GLINT360K = Counts(identities=360_232, images=17_091_657)
WEBFACE42M = Counts(identities=2_059_906, images=42_474_557)


def spec_of(name: str) -> ArcFaceTrainingJobSpec:
    return read_job(ROOT / "examples" / f"{name}.yaml").spec


RECIPES = [
    pytest.param("ms1mv2-8x910", MS1MV2, 5686, 0.1, 46.03, id="R100 on MS1MV2"),
    pytest.param("ms1mv3-r50", MS1MV3, 5058, 0.1, 46.12, id="R50 on MS1MV3"),
    pytest.param("ms1mv2-mobilefacenet", MS1MV2, 5686, 0.1, 46.03, id="MobileFaceNet on MS1MV2"),
    pytest.param("glint360k-r100", GLINT360K, 16_691, 0.1, 41.19, id="R100 on Glint360K"),
    pytest.param("webface42m-r100", WEBFACE42M, 10_369, 0.4, 42.53, id="R100 on WebFace42M"),
]


@pytest.mark.parametrize(("name", "counts", "steps", "rate", "first_loss"), RECIPES)
def test_a_recipe_has_the_published_schedule_and_fits_on_its_cards(
    name: str, counts: Counts, steps: int, rate: float, first_loss: float
) -> None:
    """Steps an epoch are images // total batch (arcface_torch/train_v2.py)."""
    plan = estimate(spec_of(name), counts)
    assert (plan.steps_per_epoch, plan.learning_rate) == (steps, rate)
    assert plan.initial_loss == pytest.approx(first_loss, abs=0.05)
    assert [card.chips for card in plan.cards if card.percent >= 100] == []


@pytest.mark.parametrize("name", [recipe.values[0] for recipe in RECIPES])
def test_the_page_of_recipes_has_every_example_and_its_gates_lie_below_what_was_published(name: str) -> None:
    (row,) = [line for line in (ROOT / "docs" / "recipes.md").read_text().splitlines() if f"{name}.yaml" in line]
    published = dict(zip(("lfw", "cfp_fp", "agedb_30", "IJBC"), _figures(row), strict=True))
    evaluation = spec_of(name).evaluation
    assert evaluation is not None
    for gate in evaluation.gates:
        last, highest = published[gate.metric.partition(".")[0]]
        assert last - 0.006 < gate.min <= highest, gate.metric


def _figures(row: str) -> list[tuple[float, float]]:
    """The last and the highest accuracies on three sets, and TAR at 1e-4 on IJB-C, from a row of the page."""
    *_, lfw, cfp_fp, agedb_30, ijbc, _ = row.split("|")
    ranges = [tuple(float(figure) for figure in cell.split("/")) for cell in (lfw, cfp_fp, agedb_30)]
    return [*((last, highest) for last, highest in ranges), (float(ijbc) / 100, float(ijbc) / 100)]
