import json
from pathlib import Path

import pytest

from arcface_api.contract.run_config import SCHEMA_VERSION, RunCheckpoint, RunConfig
from arcface_api.errors import InvalidInput
from arcface_operator.manifests.config_maps import build_run_config
from support.builders.jobs import make_job


def test_a_checkpoint_is_named_relative_to_its_claim():
    settings = RunCheckpoint(directory="/checkpoints/runs/7", path="runs/7/", every_steps=1, keep_last=1)
    assert settings.path_of(Path("/checkpoints/runs/7/step-00000100")) == "runs/7/step-00000100"
    assert settings.path_of(Path("/checkpoints/runs/7")) == "runs/7"


def written(path, **changes):
    """A configuration as an operator writes it that may be newer."""
    document = json.loads(build_run_config(make_job(), 3, "trainer:7").to_json())
    path.write_text(json.dumps({**document, **changes}))
    return document


def test_an_older_image_passes_over_what_a_newer_operator_has_added(tmp_path):
    path = tmp_path / "run.json"
    document = written(path)
    plain = RunConfig.read(path)
    written(path, voice=True, loss={**document["loss"], "smoothing": 0.0}, recipe={**document["recipe"], "x.y": 1})
    newer = RunConfig.read(path)
    assert (newer.loss, newer.attempt, newer.image) == (plain.loss, 3, "trainer:7")


def test_a_newer_image_reads_what_an_older_operator_left_out(tmp_path):
    path = tmp_path / "run.json"
    document = written(path)
    for name in ("schemaVersion", "attempt", "image", "recipe"):
        del document[name]
    path.write_text(json.dumps(document))
    assert (RunConfig.read(path).recipe, RunConfig.read(path).attempt) == (None, 0)


@pytest.mark.parametrize("metric", ["lfw.f9@0.35", "lfw.African.dprime", "IJBC.rank@1"])
def test_a_figure_that_only_a_later_release_knows_is_refused_by_its_gate(tmp_path, metric):
    path = tmp_path / "run.json"
    gates = [{"metric": "lfw.accuracy", "min": 0.9}, {"metric": metric, "min": 0.1}]
    written(path, evaluation={"claim": "sets", "directory": "/sets", "sets": ["lfw"], "ijb": ["IJBC"], "gates": gates})
    with pytest.raises(InvalidInput, match=r"run\.json: evaluation\.gates\[1\]\.metric: must be <set>\.accuracy"):
        RunConfig.read(path)


def test_a_configuration_of_a_later_version_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "run.json"
    written(path, schemaVersion=SCHEMA_VERSION + 1)
    with pytest.raises(InvalidInput, match=r"set spec\.image to one of the operator's release"):
        RunConfig.read(path)
