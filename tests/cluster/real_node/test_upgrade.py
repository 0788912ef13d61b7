"""Two releases take turns on a real kubelet: operator, launcher, ranks, evaluator, with each other's checkpoints."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arcface_faces.checkpoint import newest_complete, read_manifest
from arcface_operator.manifests.evaluator_pod import CONTAINER as EVALUATOR
from arcface_operator.manifests.pod_template import merged
from arcface_operator.manifests.worker_pod import CONTAINER as TRAINER
from support.builders.verification_set import write_pairs
from support.processes.operator_process import DEFAULTS, OperatorProcess, serve_jobs
from support.processes.release import PREVIOUS, Release
from support.processes.training_jobs import TrainingJobs
from support.processes.trainings import write_image_folder
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import TRAINER_IMAGE, host_python, trainer_image
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
TINY = {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16}
SECONDS = 300.0
WHERE = ["python", "-c", "import arcface_trainer; print(arcface_trainer.__file__)"]


@pytest.fixture(scope="module")
def present(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release under test; its image finds its code by the environment's own packages."""
    with Release(tmp_path_factory.mktemp("releases") / "present") as release:
        release.image = TRAINER_IMAGE
        release.grant_rights(node.plane)
        yield release


@pytest.fixture(scope="module")
def previous(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release before; its image has its code first on the path of Python."""
    with Release(tmp_path_factory.mktemp("releases") / "previous", PREVIOUS) as release:
        release.folder.chmod(0o755)
        release.image = "localhost/arcface-trainer:previous"
        release.grant_rights(node.plane)
        config = trainer_image().config
        variables = [f"{name}={value}" for name, value in release.variables.items()]
        node.add_image(
            replace(trainer_image(), name=release.image, config={**config, "Env": config["Env"] + variables})
        )
        yield release


def template_of(container: str, previous: Release) -> dict[str, Any]:
    """Python of this machine for a pod of either release."""
    path = str(previous.folder)
    volume = {"name": "previous", "hostPath": {"path": path, "type": "Directory"}}
    mount = {"name": "previous", "mountPath": path, "readOnly": True}
    more = {"spec": {"volumes": [volume], "containers": [{"name": container, "volumeMounts": [mount]}]}}
    return merged(host_python(container), more, "previous")


def test_each_image_holds_its_release(pods: Pods, previous: Release, present: Release) -> None:
    for number, release in enumerate((previous, present)):
        pod = template_of("main", previous)
        pod["spec"]["containers"][0] |= {"image": release.image, "imagePullPolicy": "Never", "command": WHERE}
        name = pods.create(
            {
                "kind": "Pod",
                "metadata": {"name": f"where-{number}"},
                **pod,
                "spec": {**pod["spec"], "restartPolicy": "Never"},
            }
        )
        pods.wait_for(name, "Succeeded")
        is_previous = Path(pods.log(name).strip()).is_relative_to(previous.folder)
        assert is_previous == (release is previous)


def test_a_training_goes_through_both_releases_and_back(
    node: RealNode, pods: Pods, previous: Release, present: Release, tmp_path: Path
) -> None:
    serve_jobs(node.plane)
    jobs = TrainingJobs(node.api, pods.namespace)
    checkpoints = store_data(node, pods, tmp_path)
    turns = Turns(node, jobs, tmp_path)
    with turns.stack:
        turns.to(previous)
        jobs.create(
            model=TINY,
            training={"batchSize": 4, "epochs": 100},
            workers={"accelerator": "cpu", "template": template_of(TRAINER, previous)},
            evaluation={"claimName": "sets", "sets": ["lfw"], "template": template_of(EVALUATOR, previous)},
            runPolicy={"cleanPodPolicy": "None"},
        )
        reached = 0
        for own, other in ((previous, present), (present, previous)):
            status = jobs.wait_until(trains_beyond(reached), seconds=SECONDS)
            assert image_of(jobs, "quick-worker-0") == status["image"] == own.image
            turns.to(other)
            jobs.patch(suspend=True)
            status = jobs.wait_for("Suspended", seconds=SECONDS)
            reached = status["checkpoint"]["step"]
            assert read_manifest(newest_complete(checkpoints / "quick")).step == reached
            assert reached < status["progress"]["totalSteps"]
            jobs.patch(suspend=False)
            status = jobs.wait_until(trains_beyond(reached), seconds=SECONDS)
            assert status["checkpoint"]["resumedFromStep"] == reached
        turns.to(present)
        status = jobs.wait_for("Succeeded", seconds=SECONDS)
        assert (status["attempt"], status["restarts"]) == (3, 0)
        assert image_of(jobs, "quick-worker-0") == previous.image
        assert image_of(jobs, "quick-evaluate") == present.image
        assert status["evaluation"]["checkpoint"] == status["checkpoint"]["path"]


def store_data(node: RealNode, pods: Pods, folder: Path) -> Path:
    """Claims with a few images and a small set; the folder of the checkpoints."""
    faces, sets, checkpoints = write_image_folder(folder / "faces"), folder / "sets", folder / "checkpoints"
    for path in (sets, checkpoints):
        path.mkdir()
    write_pairs(sets / "lfw.bin", 20)
    for path in (faces, sets):
        path.chmod(0o755)
        node.claim(pods.namespace, path.name, path)
    node.claim(pods.namespace, "checkpoints", checkpoints, volume="local")
    return checkpoints


class Turns:
    """Operators that take turns; each is gone before the next one acts, as with one replica of a Deployment."""

    def __init__(self, node: RealNode, jobs: TrainingJobs, folder: Path) -> None:
        self.node, self.jobs, self.folder = node, jobs, folder
        self.stack = ExitStack()
        self.operators: list[OperatorProcess] = []

    def to(self, release: Release) -> None:
        """Another one acts."""
        arguments = ("--no-leader-election", "--namespace", self.jobs.namespace)
        # The time that users' pods have to save in: ranks of a real training need more than the tests' few seconds.
        grace = {"terminationGraceSeconds": DEFAULTS["terminationGraceSeconds"]}
        folder = self.folder / f"operator-{len(self.operators)}"
        operator = release.operator(self.node.plane, folder, *arguments, **grace)
        for before in self.operators:
            before.stop()
        self.operators.append(self.stack.enter_context(operator))
        operator.wait_until_it_leads()


def trains_beyond(step: int):
    """Whether a job trains and is further than a step."""

    def does(status: dict[str, Any]) -> bool:
        assert status.get("phase") != "Failed", status
        return status.get("phase") == "Training" and (status.get("progress") or {}).get("step", 0) > step

    return does


def image_of(jobs: TrainingJobs, pod: str) -> str:
    """Image of a pod."""
    return jobs.pods()[pod]["spec"]["containers"][0]["image"]
