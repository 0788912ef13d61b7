"""A newcomer's first hour by README and pages: from `helm install` to a verified training, every command as printed.

What a newcomer has made of it before: images in a registry (here they lie on the node under that registry's names) and
volumes (here folders that wait for their claims). The operator's image is what its Dockerfile makes, the trainer's a
stand-in: a bare image into whose pods the API server mounts this environment's Python, with MindSpore and our packages
(`python_policy`); `make check-images` builds and looks into the real one, where no job runs. The clone is a copy of
charts, crds and examples. What is changed in what is printed: the chart asks for no disk, which this node does not
account for, and the first job draws fewer faces, for which its gate is too high, so that it has none.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcface_api.resource.spec import VERIFICATION_SETS
from support.printed_commands import printed_commands
from support.processes.training_jobs import TrainingJobs
from support.processes.trainings import write_image_folder
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.pods import Pods
from testbed.control_plane.storage import build_volume
from testbed.images.oci_images import trainer_image
from testbed.images.python_policy import give_python, has_python
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
ROOT = Path(__file__).resolve().parents[3]
REGISTRY = "registry.example/faces"
"""As the page calls it."""
TRAINER = f"{REGISTRY}/arcface-trainer:{version('arcface-api')}"
FEW_FACES = ["--identities=16", "--images-per-identity=8", "--test-identities=10", "--pairs=20"]
NO_DISK = ("ephemeral-storage: 16Mi", "ephemeral-storage: 128Mi")


class Newcomer:
    """Somebody with a clone of the repository, a shell and a cluster."""

    def __init__(self, node: RealNode, clone: Path) -> None:
        self.node, self.clone = node, clone
        for name in ("charts", "crds", "examples"):
            shutil.copytree(ROOT / name, clone / name)
        values = clone / "charts" / "arcface-operator" / "values.yaml"
        text = values.read_text()
        for asked in NO_DISK:
            assert f", {asked}" in text
            text = text.replace(f", {asked}", "")
        values.write_text(text)

    def follow(self, page: str, heading: str, namespace: str = "default") -> str:
        """Type all commands under a heading; what the last one prints."""
        said = ""
        for command in printed_commands(page, heading):
            said = self.node.plane.shell(command.replace("REGISTRY/", f"{REGISTRY}/"), self.clone, namespace)
        return said

    def volume(self, namespace: str, claim: str, storage_class: str = "") -> Path:
        """A folder that such a claim will find."""
        folder = self.clone / claim
        folder.mkdir()
        manifest = build_volume(self.node.name, namespace, claim, folder, "local")
        modes = {"accessModes": ["ReadWriteOnce", "ReadWriteMany"], "storageClassName": storage_class}
        manifest["spec"] |= modes
        answer(self.node.api.post("/api/v1/persistentvolumes", json=manifest))
        return folder


@pytest.fixture(scope="module")
def newcomer(bare_node: RealNode, operator_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """The chart is installed by the page, and `helm test` has found that it acts; at the end it is removed by it."""
    bare_node.name_image(operator_image, f"{REGISTRY}/arcface-operator:{version('arcface-api')}")
    bare_node.add_image(replace(trainer_image(), name=TRAINER))
    give_python(bare_node.plane, TRAINER)
    made = Newcomer(bare_node, tmp_path_factory.mktemp("clone"))
    try:
        assert "Succeeded" in made.follow("docs/install.md", "Helm")
        wait_until(lambda: has_python(bare_node.plane, TRAINER))
        yield made
    finally:
        made.follow("docs/install.md", "Removal")


def test_helm_test_trains_by_the_page(newcomer: Newcomer) -> None:
    folder = newcomer.volume("arcface-system", "trains-arcface-operator")
    said = newcomer.follow("docs/install.md", "Does it train?")
    assert said.count("Succeeded") == 5, said
    assert list((folder / "checkpoints").glob("step-*/manifest.json"))
    left = newcomer.node.plane.kubectl(
        "get", "arcfacejobs,persistentvolumeclaims", "-n", "arcface-system", "--output=name"
    )
    assert left == ""


def test_images_come_onto_a_claim_by_the_page(newcomer: Newcomer, pods: Pods) -> None:
    block = (ROOT / "docs" / "storage.md").read_text().partition("## Claims, and")[2]
    claims = block.partition("```yaml\n")[2].partition("```")[0].replace("REGISTRY", REGISTRY)
    (newcomer.clone / "claims.yaml").write_text(claims)
    write_image_folder(newcomer.clone / "faces_emore", 2, 3)
    folders = [newcomer.volume(pods.namespace, claim, "shared") for claim in ("datasets", "checkpoints")]
    newcomer.follow("docs/storage.md", "Claims, and what comes onto them", pods.namespace)
    assert len(list((folders[0] / "faces_emore").rglob("*.png"))) == 6


def test_the_first_job_is_verified_by_the_page(newcomer: Newcomer, pods: Pods) -> None:
    folders = [newcomer.volume(pods.namespace, f"quickstart-{part}") for part in ("faces", "checkpoints")]
    example = newcomer.clone / "examples" / "cluster-quickstart.yaml"
    example.write_text(with_few_faces(example.read_text()))
    said = newcomer.follow("docs/install.md", "The first job", pods.namespace)
    assert "FIELDS:" in said  # of the last one, kubectl explain
    status = TrainingJobs(newcomer.node.api, pods.namespace).status("quickstart")
    assert status["phase"] == "Succeeded", status
    assert (folders[1] / status["checkpoint"]["path"] / "manifest.json").is_file()
    assert {result["dataset"] for result in status["evaluation"]["results"]} == set(VERIFICATION_SETS)
    columns = shown_by_kubectl(newcomer.node, pods.namespace)
    assert "" not in columns.values(), columns
    assert (columns["PHASE"], columns["EPOCH"], columns["RESTARTS"]) == ("Succeeded", "3/3", "0")
    assert float(columns["LFW"]) == pytest.approx(status["evaluation"]["results"][0]["accuracy"])


def test_the_release_is_upgraded_by_the_page(newcomer: Newcomer) -> None:
    assert "has been upgraded" in newcomer.follow("docs/install.md", "Upgrade")
    values = newcomer.node.plane.shell("helm get values arcface-operator -n arcface-system", newcomer.clone, "default")
    assert yaml.safe_load(values.partition("\n")[2])["image"] == {"repository": f"{REGISTRY}/arcface-operator"}


def with_few_faces(text: str) -> str:
    """The example with fewer faces and hence no gate."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    drawing, job = documents[2]["spec"]["template"]["spec"], documents[3]["spec"]
    drawing["containers"][0]["command"] += FEW_FACES
    job["evaluation"]["gates"] = []
    return "---\n".join(json.dumps(document) + "\n" for document in documents)


def shown_by_kubectl(node: RealNode, namespace: str) -> dict[str, str]:
    """The row of `kubectl get arcfacejobs` by the columns' names, cut where the header has them."""
    header, row = node.plane.kubectl("get", "arcfacejobs", "-n", namespace).splitlines()
    starts = [header.index(name) for name in header.split()]
    ends = [*starts[1:], len(row)]
    return {name: row[start:end].strip() for name, start, end in zip(header.split(), starts, ends, strict=True)}
