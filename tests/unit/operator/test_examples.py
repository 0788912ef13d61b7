from pathlib import Path

import pytest

from arcface_operator.manifests.config_maps import build_config_map
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.preflight.job_file import read_job
from arcface_operator.preflight.spec_checks import unsupported
from arcface_operator.settings import Settings

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in EXAMPLES])
def test_examples_load_and_become_manifests(path: Path) -> None:
    job = read_job(path)
    assert build_config_map(job)["data"]["run.json"]
    assert build_worker_pod(job, 0, 0, Settings())["metadata"]["name"] == f"{job.metadata.name}-worker-0"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in EXAMPLES])
def test_no_example_asks_for_anything_unsupported(path: Path) -> None:
    assert unsupported(read_job(path).spec) == []


@pytest.mark.parametrize("name", ["quickstart", "lfw"])
def test_examples_for_this_machine_need_no_card(name: str) -> None:
    assert read_job(next(path for path in EXAMPLES if path.stem == name)).spec.workers.accelerator == "cpu"
