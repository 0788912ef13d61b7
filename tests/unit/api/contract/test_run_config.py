from pathlib import Path

import pytest

from arcface_api.contract.run_config import RunCheckpoint, spec_hash
from support.builders.jobs import make_job


def hash_of(**spec):
    return spec_hash(make_job(**spec).spec)


GANG_OF_ONE = {"training": {"batchSize": 64}}


@pytest.mark.parametrize(
    ("batch", "workers", "accumulation"),
    [(32, {"replicas": 2}, 1), (16, {"replicas": 2, "devicesPerWorker": 2}, 1), (32, {}, 2), (8, {"replicas": 8}, 1)],
)
def test_the_hash_does_not_depend_on_how_the_total_batch_is_split(batch, workers, accumulation):
    split = {"batchSize": batch, "gradientAccumulation": accumulation}
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
def test_the_hash_ignores_what_does_not_decide_the_weights(spec):
    assert hash_of(**{**GANG_OF_ONE, **spec}) == hash_of(**GANG_OF_ONE)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"training": {"batchSize": 32}}, id="total batch"),
        pytest.param({"training": {"batchSize": 64, "seed": 1}}, id="seed"),
        pytest.param({"training": {"batchSize": 64, "epochs": 21}}, id="epochs"),
        pytest.param({"model": {"width": 0.5}}, id="width"),
        pytest.param({"loss": {"margin": 0.4}}, id="margin"),
        pytest.param({"data": {"augmentation": "none"}}, id="augmentation"),
        pytest.param({"workers": {"accelerator": "ascend"}}, id="precision"),
    ],
)
def test_the_hash_changes_with_what_decides_the_weights(spec):
    assert hash_of(**{**GANG_OF_ONE, **spec}) != hash_of(**GANG_OF_ONE)


def test_a_checkpoint_is_named_relative_to_its_claim():
    settings = RunCheckpoint(directory="/checkpoints/runs/7", path="runs/7/", every_steps=1, keep_last=1)
    assert settings.path_of(Path("/checkpoints/runs/7/step-00000100")) == "runs/7/step-00000100"
    assert settings.path_of(Path("/checkpoints/runs/7")) == "runs/7"
