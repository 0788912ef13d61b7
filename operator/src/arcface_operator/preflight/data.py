"""Looking at a job's data before it runs, with the trainer's and evaluator's own readers where they are installed.

They run in processes of their own, since the operator imports neither: its image has no NumPy and no MindSpore.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from arcface_api.command import GROUP
from arcface_api.contract import reports
from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput, explained
from arcface_api.names import RELEASES
from arcface_api.resource.spec import ArcFaceTrainingJobSpec, EvaluationSpec
from arcface_api.resource.validation import is_of_template_set


@dataclass(frozen=True)
class Counts:
    """Size of a training set."""

    identities: int
    images: int


def count_data(spec: ArcFaceTrainingJobSpec, volumes: Mapping[str, Path]) -> Counts | None:
    """Counts of the training set; None where its claim has no directory or no reader is installed."""
    if spec.data.claim_name not in volumes or not is_installed("data"):
        return None
    directory = volumes[spec.data.claim_name] / spec.data.path
    with explained(directory, "cannot be looked at", "correct spec.data.path or the --volume"):
        is_there = directory.is_dir()
    if not is_there:
        raise InvalidInput(f"spec.data.path: {directory} is not a directory; correct the path or the --volume")
    stats = _read_stats(directory, spec.data.min_images_per_identity)
    return Counts(identities=stats.identities, images=stats.images)


def _read_stats(directory: Path, min_images: int) -> reports.DataStats:
    """What `arcface data stats` says."""
    answer = _ask("spec.data", "data", "stats", str(directory), "--min-images", str(min_images), "--json")
    return reports.DataStats.from_ours(answer, "arcface data stats")


def steps_per_epoch(spec: ArcFaceTrainingJobSpec, counts: Counts) -> int:
    """Full batches in an epoch, the remainder is left out; InvalidInput where the images do not do for the job."""
    if counts.identities < 2:
        raise InvalidInput(
            f"spec.data: {counts.identities} identities with at least {spec.data.min_images_per_identity} images; "
            "a classifier needs 2: lower spec.data.minImagesPerIdentity or add identities"
        )
    if counts.identities < spec.workers.world_size:
        raise InvalidInput(
            f"spec.workers: {spec.workers.world_size} ranks share {counts.identities} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    if counts.images < spec.total_batch_size:
        raise InvalidInput(
            f"spec.data: {counts.images} images do not fill one batch of {spec.total_batch_size} over all ranks: "
            "lower spec.training.batchSize or the number of ranks, or add images"
        )
    return counts.images // spec.total_batch_size


def check_evaluation_sets(evaluation: EvaluationSpec, volumes: Mapping[str, Path]) -> None:
    """Have the evaluator look at the verification sets, where their claim has a directory.

    Raises:
        InvalidInput: where a set is missing or cannot be evaluated.
    """
    if evaluation.claim_name not in volumes:
        return
    directory = volumes[evaluation.claim_name] / evaluation.path
    files = [directory / f"{name}.bin" for name in evaluation.sets]
    with explained(directory, "cannot be looked at", "correct spec.evaluation.path or the --volume"):
        missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InvalidInput(
            f"spec.evaluation.sets: {directory} has no {', '.join(missing)}; add them or name fewer sets"
        )
    if not is_installed("evaluate"):
        return
    metrics = {gate.metric for gate in evaluation.gates}
    of_releases = {name: [each for each in metrics if is_of_template_set(each, name)] for name in evaluation.ijb}
    if files:
        gates = _gate_options(metrics.difference(*of_releases.values()))
        _ask("spec.evaluation.sets", "evaluate", "check", *gates, *map(str, files))
    for name in evaluation.ijb:
        folder = directory / RELEASES / name
        options = (*_gate_options(of_releases[name]), "--quick", "--links", "anywhere", "--json", "--ijb")
        answer = _ask("spec.evaluation.ijb", "evaluate", "check", *options, str(folder))
        (found,) = reports.SetCounts.from_ours(answer, "arcface evaluate check").ijb
        if (sentence := reports.misnamed_release(folder, found.name)) is not None:
            raise InvalidInput(f"spec.evaluation.ijb: {sentence}")


def _gate_options(metrics: Iterable[str]) -> list[str]:
    return [f"--gate={metric}" for metric in sorted(metrics)]


def is_installed(command: str) -> bool:
    """Whether this `arcface` command exists here."""
    return any(point.name == command for point in entry_points(group=GROUP))


def _ask(field: str, command: str, *arguments: str) -> str:
    """What an `arcface` command prints; its error becomes one about this field of the job."""
    ended = subprocess.run(
        [sys.executable, "-c", "from arcface_api.command import main; main()", command, *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["failed without a word"]
        error = InvalidInput if ended.returncode == ExitCode.INVALID_INPUT else ArcFaceError
        raise error(f"{field}: {lines[-1].removeprefix(f'arcface {command}: ')}")
    return ended.stdout
