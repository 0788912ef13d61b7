"""Looking at a job's data before it runs, with the trainer's own reader where it is installed."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from arcface_api.command import GROUP
from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_api.reports import DataStats
from arcface_api.spec import ArcFaceTrainingJobSpec, EvaluationSpec
from arcface_operator.estimate import Counts


def count_data(spec: ArcFaceTrainingJobSpec, volumes: Mapping[str, Path]) -> Counts | None:
    """Counts of the training set; None where its claim has no directory or no reader is installed."""
    if spec.data.claim_name not in volumes or not is_reader_installed():
        return None
    directory = volumes[spec.data.claim_name] / spec.data.path
    if not directory.is_dir():
        raise InvalidInput(f"spec.data.path: {directory} is not a directory; correct the path or the --volume")
    stats = read_stats(directory, spec.data.min_images_per_identity)
    return Counts(identities=stats.identities, images=stats.images)


def is_reader_installed() -> bool:
    """Whether `arcface data` exists here: the operator's image has no trainer."""
    return any(point.name == "data" for point in entry_points(group=GROUP))


def read_stats(directory: Path, min_images: int) -> DataStats:
    """What `arcface data stats` says; in a process of its own, since the operator does not import the trainer."""
    arguments = ["data", "stats", str(directory), "--min-images", str(min_images), "--json"]
    ended = subprocess.run(
        [sys.executable, "-c", "from arcface_api.command import main; main()", *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["failed without a word"]
        error = InvalidInput if ended.returncode == ExitCode.INVALID_INPUT else ArcFaceError
        raise error(f"spec.data: {lines[-1].removeprefix('arcface data: ')}")
    return DataStats.from_json(ended.stdout, "arcface data stats")


def check_evaluation_sets(evaluation: EvaluationSpec, volumes: Mapping[str, Path]) -> None:
    """Every set must be a file, where the claim's directory is known."""
    if evaluation.claim_name not in volumes:
        return
    directory = volumes[evaluation.claim_name] / evaluation.path
    missing = [f"{name}.bin" for name in evaluation.sets if not (directory / f"{name}.bin").is_file()]
    if missing:
        raise InvalidInput(
            f"spec.evaluation.sets: {directory} has no {', '.join(missing)}; add them or name fewer sets"
        )
