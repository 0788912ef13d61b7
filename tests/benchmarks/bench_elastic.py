"""A training of four pods that goes on with two and with four again: `python bench_elastic.py [SEED] [--faces FOLDER]`.

Four pods with a rank each, as processes of this machine by the very decisions of the operator, train a tiny network on
nodes that take one pod each. After a step that is drawn by a seed two nodes are lost with their pods; after some steps
more they are back. Every rank writes down the images that it takes. In the end the images of each step must be those of
the same training undisturbed, in the order of the joined batch. Real are operator's decisions, launchers, ranks and
checkpoints; the scheduler is a stand-in, kubelet and cards are none (`tests/cluster/operator/test_elastic.py` has
kube-scheduler).

With FOLDER/train.rec it is the training of examples/lfw.yaml, for fewer epochs, and both must be as accurate on
FOLDER/lfw_dev.bin: each within the other's 95 % interval.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_lfw import ARCFACE, ROOT, steps_per_epoch

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, SPARE
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.observation import view_pod
from arcface_operator.local.cluster import LocalCluster
from arcface_operator.local.kubelet import directories
from arcface_operator.local.progress import Narrator
from arcface_operator.local.reconciler import TICK_SECONDS, LocalReconciler, StopRequests
from arcface_operator.local.runner import ON_THIS_MACHINE, LocalRun
from support.builders.jobs import make_job
from support.fakes.local_in_world import Notes
from support.processes.trainings import write_image_folder

PODS, LEAST = 4, 2
PATIENCE_SECONDS = 7200
RUNS = ("resized", "undisturbed")
NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node is free"}
HAS_ROOM = {"type": "PodScheduled", "status": "True"}
SETTINGS = ON_THIS_MACHINE.model_copy(update={"shrink_seconds": 3, "grow_seconds": 3})


@dataclass(frozen=True)
class Subject:
    """What is trained."""

    job: ArcFaceTrainingJob
    faces: Path
    total_steps: int

    @classmethod
    def tiny(cls, folder: Path) -> "Subject":
        """48 images."""
        batch, epochs, images = 4, 40, 48
        job = make_job(
            "elastic",
            model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
            data={"claimName": "faces"},
            training={"epochs": epochs, "batchSize": batch, "optimizer": {"learningRate": 0.001}},
            **cls.fields(every_steps=5),
        )
        return cls(job, write_image_folder(folder / "faces"), epochs * (images // (PODS * batch)))

    @classmethod
    def real(cls, faces: Path, epochs: int) -> "Subject":
        """That of the example, with as large a total batch."""
        spec = yaml.safe_load((ROOT / "examples" / "lfw.yaml").read_text())["spec"]
        whole = spec["training"]["batchSize"] * spec["workers"]["replicas"]
        spec["training"] |= {"epochs": epochs, "batchSize": whole // PODS}
        spec["training"]["schedule"]["warmupEpochs"] = 1
        del spec["evaluation"]
        spec |= cls.fields(every_steps=20)
        return cls(make_job("elastic", **spec), faces, epochs * steps_per_epoch(faces, {"spec": spec}))

    @staticmethod
    def fields(every_steps: int) -> dict:
        """What is alike."""
        return {
            "workers": {"accelerator": "cpu", "replicas": PODS, "minReplicas": LEAST},
            "checkpoint": {"claimName": "checkpoints", "everySteps": every_steps},
            "runPolicy": {"backoffLimit": 0},
        }


class FewNodes(LocalCluster):
    """Pods on nodes that take one each; those that find none wait, as kube-scheduler has them wait."""

    def __init__(self, kubelet, now, nodes):
        super().__init__(kubelet, now)
        self.nodes = nodes
        self.waiting = {}
        self.spare = {}
        """Those that have a node and do nothing there."""

    def look(self):
        super().look()
        names = list(self.waiting)[: max(0, self.nodes - len(self.pods) - len(self.spare))]
        placed = {name: self.waiting.pop(name) for name in names}
        ranks = [pod for pod in placed.values() if not is_spare(pod)]
        if ranks:
            super()._start(ranks)
        self.spare |= {name: pod for name, pod in placed.items() if is_spare(pod)}
        waiting = [view(pod, NO_ROOM) for pod in self.waiting.values()]
        return (*super().look(), *waiting, *(view(pod, HAS_ROOM, nodeName="node") for pod in self.spare.values()))

    def _start(self, manifests):
        self.waiting |= {pod["metadata"]["name"]: pod for pod in manifests}

    def _delete(self, action):
        if self.waiting.pop(action.name, None) is None and self.spare.pop(action.name, None) is None:
            super()._delete(action)

    def lose(self, *names):
        """Nodes are gone, with all that is on them."""
        for name in names:
            self.kubelet.end_pod(name)
            self.pods.pop(name).process.reap()
        self.nodes -= len(names)


def is_spare(pod):
    return pod["metadata"]["labels"][ATTEMPT_LABEL] == SPARE


def view(pod, scheduled, **spec):
    scheduled = {**scheduled, "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
    return view_pod({**pod, "spec": {**pod["spec"], **spec}, "status": {"phase": "Pending", "conditions": [scheduled]}})


@contextmanager
def training(folder: Path, subject: Subject) -> Iterator[LocalReconciler]:
    claims = {"faces": subject.faces, "checkpoints": folder / "checkpoints"}
    run, view_of_run = LocalRun(subject.job, SETTINGS, claims), Notes()
    (folder / "ids").mkdir(parents=True)
    os.environ["SAMPLE_IDS"] = str(folder / "ids")
    with directories.locked_workdir(folder / "work") as workdir:
        directories.create_claims(claims)
        with run.open_cluster(workdir, view_of_run, StopRequests()) as machine:
            cluster = FewNodes(machine.kubelet, machine.now, PODS)
            narrator = Narrator(view_of_run, workdir.logs)
            yield LocalReconciler(run.job, cluster, SETTINGS, narrator, StopRequests())
            cluster.close()


def look_until(reconciler: LocalReconciler, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if (reconciler.look() and not condition()) or time.monotonic() > deadline:
            sys.exit(f"gave up: {reconciler.job.status.to_json()}")
        time.sleep(TICK_SECONDS)


def step_of(reconciler: LocalReconciler) -> int:
    progress = reconciler.job.status.progress
    return 0 if progress is None else progress.step


def is_at_work_with(reconciler: LocalReconciler, pods: int) -> bool:
    status = reconciler.job.status
    return status.phase == "Training" and status.workers is not None and status.workers.ready == pods


def train_to_the_end(reconciler: LocalReconciler, total_steps: int) -> None:
    look_until(reconciler, lambda: reconciler.job.status.phase in {"Succeeded", "Failed"})
    status = reconciler.job.status
    if status.phase != "Succeeded" or step_of(reconciler) != total_steps:
        sys.exit(f"not well: {status.to_json()}")


def sizes_in_turn(reconciler: LocalReconciler, draw: random.Random, total_steps: int) -> None:
    """4 pods, then 2, then 4."""
    cluster = reconciler.pods
    few, many = total_steps // 15, total_steps // 5
    goal = draw.randint(few, many)
    look_until(reconciler, lambda: step_of(reconciler) >= goal)
    lost = draw.sample(range(PODS), PODS - LEAST)
    print(f"  after step {step_of(reconciler)} the nodes of pods {sorted(lost)} are lost", flush=True)
    cluster.lose(*(f"elastic-worker-{index}" for index in lost))
    look_until(reconciler, lambda: is_at_work_with(reconciler, LEAST))
    goal = step_of(reconciler) + draw.randint(few, many)
    look_until(reconciler, lambda: step_of(reconciler) >= goal)
    print(f"  after step {step_of(reconciler)} they are back", flush=True)
    cluster.nodes = PODS
    look_until(reconciler, lambda: is_at_work_with(reconciler, PODS))
    print(f"  all pods train again after step {step_of(reconciler)}", flush=True)
    train_to_the_end(reconciler, total_steps)


def images_of_steps(folder: Path, total_steps: int) -> list[list[int]]:
    """Ids of the images of each step, in the order of the joined batch; what a later attempt made again is its."""
    found: dict[int, list[int]] = {}
    ranks: dict[int, list[dict[int, list[int]]]] = {}
    for file in sorted(folder.glob("*.ids"), key=lambda file: tuple(map(int, file.stem.split("-")))):
        lines = [line.split() for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        ranks.setdefault(int(file.stem.split("-")[0]), []).append(
            {int(step): list(map(int, ids)) for step, *ids in lines}
        )
    for attempt, of_ranks in sorted(ranks.items()):
        first = min(of_ranks[0])
        found = {step: ids for step, ids in found.items() if step < first}
        assert sorted(found) == list(range(first)), "a step is left out"
        taken = set.intersection(*map(set, of_ranks))
        found |= {step: [number for ids in of_ranks for number in ids[step]] for step in taken}
        print(f"  attempt {attempt}: {len(of_ranks)} ranks took images for steps {first} to {max(taken)}")
    return [found[step] for step in range(total_steps)]


def sha256(steps: list[list[int]]) -> str:
    return hashlib.sha256(json.dumps(steps).encode()).hexdigest()


def verified(checkpoints: Path, pairs: Path) -> tuple[float, float, float]:
    """Accuracy of the newest one, and its 95 % interval."""
    out = checkpoints / "verified.json"
    command = [ARCFACE, "evaluate", "pairs", "--checkpoint", checkpoints, "--bin", pairs, "--json", out]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads(out.read_text())
    return found["results"][0]["accuracy"], *found["details"][0]["interval"]


def train(name: str, folder: Path, subject: Subject, seed: int) -> str:
    """Train once, resized or undisturbed; a hash of the images of all steps."""
    print(f"{name}: {subject.total_steps} steps of {PODS * subject.job.spec.training.batch_size} images, seed {seed}")
    began = time.monotonic()
    with training(folder / name, subject) as reconciler:
        if name == "resized":
            sizes_in_turn(reconciler, random.Random(seed), subject.total_steps)
        else:
            train_to_the_end(reconciler, subject.total_steps)
        status = reconciler.job.status
    for each in status.recoveries:
        print(f"  {each.rung} ({each.cause}): {each.seconds} s to a new step, {each.steps_lost} steps again")
    hashed = sha256(images_of_steps(folder / name / "ids", subject.total_steps))
    told = f"restarts {status.restarts}, counted {status.counted_restarts}, last loss {status.progress.loss}"
    print(f"  {time.monotonic() - began:.0f} s, {told}; images of all steps: sha256 {hashed}", flush=True)
    return hashed


def compared(folder: Path, pairs: Path) -> bool:
    """Whether both are as accurate."""
    found = {name: verified(folder / name / "checkpoints" / "elastic", pairs) for name in RUNS}
    for name, (accuracy, low, high) in found.items():
        print(f"{name}: accuracy {accuracy:.4f}, 95 % {low:.4f} to {high:.4f}")
    (one, low, high), (other, other_low, other_high) = found.values()
    return low <= other <= high and other_low <= one <= other_high


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--faces", type=Path, help="folder with train.rec and lfw_dev.bin")
    parser.add_argument("--epochs", type=int, default=5, help="on real faces")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "sample_ids")
    with tempfile.TemporaryDirectory() as text:
        folder, faces = Path(text), given.faces
        subject = Subject.tiny(folder) if faces is None else Subject.real(faces.resolve(), given.epochs)
        hashes = {train(name, folder, subject, given.seed) for name in RUNS}
        is_as_good = faces is None or compared(folder, faces.resolve() / "lfw_dev.bin")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if len(hashes) > 1 or not is_as_good:
        sys.exit("the images differ" if len(hashes) > 1 else "the accuracies differ")


if __name__ == "__main__":
    main()
