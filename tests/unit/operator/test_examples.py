from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from arcface_operator.manifests.config_maps import build_config_map
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.preflight.job_file import parse_job, read_job
from arcface_operator.preflight.spec_checks import unsupported
from arcface_operator.settings import Settings

FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(set(FOLDER.glob("*.yaml")) - set(FOLDER.glob("cluster-*.yaml")))


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


def test_the_clusters_first_job_finds_what_is_drawn_for_it() -> None:
    *claims, drawing, document = yaml.safe_load_all((FOLDER / "cluster-quickstart.yaml").read_text())
    job = parse_job(yaml.safe_dump(document), "cluster-quickstart.yaml")
    assert job.spec.evaluation is not None
    pod = drawing["spec"]["template"]["spec"]
    (volume,), (container,) = pod["volumes"], pod["containers"]
    faces = volume["persistentVolumeClaim"]["claimName"]
    assert (job.spec.data.claim_name, job.spec.evaluation.claim_name) == (faces, faces)
    assert {claim["metadata"]["name"] for claim in claims} == {faces, job.spec.checkpoint.claim_name}
    assert container["image"] == f"REGISTRY/arcface-trainer:{version('arcface-api')}"
    assert (job.spec.suspend, job.spec.workers.replicas) == (True, 1)
    here = read_job(FOLDER / "quickstart.yaml").spec
    assert (job.spec.model, job.spec.loss, job.spec.training) == (here.model, here.loss, here.training)
