import pytest

from arcface_api.contract import recipe as recipes
from arcface_api.contract.recipe import difference, recipe, spec_hash
from support.builders.jobs import make_job


def of(**spec):
    return recipe(make_job(**spec).spec)


def hash_of(**spec):
    return spec_hash(make_job(**spec).spec)


GANG_OF_ONE = {"training": {"batchSize": 64}}


@pytest.mark.parametrize(
    ("batch", "workers", "accumulation"),
    [(32, {"replicas": 2}, 1), (16, {"replicas": 2, "devicesPerWorker": 2}, 1), (64, {}, 4), (8, {"replicas": 8}, 2)],
)
def test_a_recipe_does_not_depend_on_how_the_total_batch_is_split(batch, workers, accumulation):
    split = {"batchSize": batch, "gradientAccumulation": accumulation}
    assert of(training=split, workers=workers) == of(**GANG_OF_ONE)
    assert hash_of(training=split, workers=workers) == hash_of(**GANG_OF_ONE)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"image": "trainer:2"}, id="image"),
        pytest.param({"checkpoint": {"everySteps": 7}}, id="checkpoint"),
        pytest.param({"runPolicy": {"backoffLimit": 0}}, id="runPolicy"),
        pytest.param({"evaluation": {"claimName": "faces"}}, id="evaluation"),
        pytest.param({"training": {"batchSize": 64, "precision": "fp32"}}, id="precision said aloud"),
    ],
)
def test_a_recipe_leaves_out_what_does_not_decide_the_weights(spec):
    assert of(**{**GANG_OF_ONE, **spec}) == of(**GANG_OF_ONE)
    assert hash_of(**{**GANG_OF_ONE, **spec}) == hash_of(**GANG_OF_ONE)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"training": {"batchSize": 32}}, "learningRate was 0.00625 and is 0.003125 now"),
        ({"training": {"batchSize": 64, "seed": 1}}, "training.seed was its default and is 1 now"),
        ({"training": {"batchSize": 64, "epochs": 21}}, "training.epochs was its default and is 21 now"),
        (
            {"training": {"batchSize": 64, "schedule": {"type": "cosine"}}},
            'training.schedule.type was its default and is "cosine" now',
        ),
        ({"model": {"width": 0.5}}, "model.width was its default and is 0.5 now"),
        ({"model": {"stemStride": 2}}, "model.stemStride was its default and is 2 now"),
        ({"loss": {"margin": 0.4}}, "loss.margin was its default and is 0.4 now"),
        ({"data": {"augmentation": "none"}}, 'data.augmentation was its default and is "none" now'),
        ({"workers": {"accelerator": "ascend"}}, 'precision was "fp32" and is "fp16" now'),
    ],
)
def test_what_decides_the_weights_is_named_where_it_differs(spec, field):
    assert difference(of(**GANG_OF_ONE), of(**{**GANG_OF_ONE, **spec})) == field
    assert hash_of(**{**GANG_OF_ONE, **spec}) != hash_of(**GANG_OF_ONE)


def test_a_field_of_a_newer_release_matters_only_where_it_is_used():
    """Newer defaults are in no recipe; what this release does not know and is used is told by name."""
    ours = of(**GANG_OF_ONE)
    assert difference(dict(ours), ours) is None
    assert difference({**ours, "loss.smoothing": 0.1}, ours) == "loss.smoothing was 0.1 and is its default now"


def test_a_claim_is_a_place_and_no_part_of_a_recipe():
    assert of(data={"claimName": "copy"}) == of()
    assert of(model={"initFrom": {"claimName": "copy", "path": "r50"}}) == of(**FINE_TUNED)


FINE_TUNED = {"model": {"initFrom": {"claimName": "models", "path": "r50"}}}


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ({"initFrom": {"claimName": "models", "path": "r50"}}, 'model.initFrom.path was its default and is "r50" now'),
        ({"initFrom": {"claimName": "models"}, "freezeEpochs": 1}, "model.freezeEpochs was its default and is 1 now"),
    ],
)
def test_what_is_fine_tuned_and_how_is_part_of_a_recipe(model, field):
    assert difference(of(), of(model=model)) == field


COMBINED = {
    "loss": {"type": "combined", "m1": 1, "m2": 0.3, "m3": 0.2},
    "training": {"schedule": {"type": "step", "milestones": [3, 5]}, "epochs": 9},
}


@pytest.mark.parametrize(
    ("spec", "written"),
    [
        ({}, "fe0896d8a271dc85b0c08170db653a028d7a0b8d769da4609196f055a5ff38b7"),
        (COMBINED, "442097670e3add33fbbb34cdc704a174821415d04c68d52cf14ddcfbdb1ca0bf"),
    ],
)
def test_the_hash_is_still_that_of_the_release_without_recipes(spec, written):
    """Written down from that release: its checkpoints have nothing else to be told by."""
    assert hash_of(**spec) == written


def test_a_field_that_a_later_release_adds_changes_no_hash_of_those_who_do_not_use_it(monkeypatch):
    monkeypatch.setitem(recipes.HASHED_ALWAYS, "loss", "type scale")
    plain = hash_of()
    monkeypatch.setitem(recipes.HASHED_ALWAYS, "loss", "type scale gradient")
    assert hash_of() != plain
    monkeypatch.setitem(recipes.HASHED_ALWAYS, "loss", "type scale")
    assert hash_of(loss={"margin": 0.4}) != plain
