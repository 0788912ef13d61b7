"""The evaluator's pod of a job: newest checkpoint, all sets of the run configuration, report in the termination log."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from rich.table import Table

from arcface_api.contract.reports import EvaluatorReport, failure_from
from arcface_api.contract.run_config import RunConfig, RunEvaluation
from arcface_api.errors import InvalidInput
from arcface_api.names import RELEASES
from arcface_api.resource.status import IjbResult
from arcface_evaluator.evaluation import ijb
from arcface_evaluator.evaluation.pairs import from_images
from arcface_evaluator.report.entries import result_of, table_of
from arcface_evaluator.sets.release import IjbRelease, open_ijb
from arcface_evaluator.sets.release_images import ReleaseImages, open_images
from arcface_faces.checkpoint import checkpoint_folder
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.pairs.pair_set import open_sets, set_files
from arcface_faces.pairs.protocol import PairScores

OpenNetwork = Callable[[Path], AbstractContextManager[Embedder]]
"""Of the checkpoint in a folder."""
Announce = Callable[[PairScores | Table], object]


def run_job(config_file: Path, termination_log: Path, open_network: OpenNetwork, announce: Announce) -> None:
    """Evaluate and leave a report, whatever happens; a failure is raised again after it is written."""
    report = EvaluatorReport()
    try:
        for report in _evaluate_job(RunConfig.read(config_file), open_network, announce):  # noqa: B007 - the last one counts
            pass
    except Exception as error:
        report.model_copy(update={"failure": failure_from(error)}).write(termination_log)
        raise
    report.write(termination_log)


def _evaluate_job(config: RunConfig, open_network: OpenNetwork, announce: Announce) -> Iterator[EvaluatorReport]:
    """Evaluate the job's newest checkpoint on its sets; all sets are checked before the network is loaded.

    After each set comes a report with the results so far, so that a later one's failure does not take them along.
    """
    if config.evaluation is None:
        raise InvalidInput(f"job {config.job}: spec.evaluation is absent, there is nothing to evaluate")
    sets = open_sets(set_files(config.evaluation))
    opened = [open_ijb(folder) for folder in _release_folders(config.evaluation)]
    releases = [(release, open_images(release)) for release in opened]
    checkpoint = checkpoint_folder(Path(config.checkpoint.directory))
    so_far = EvaluatorReport(checkpoint=str(checkpoint))
    with open_network(checkpoint) as embedder:
        for found in from_images(sets, embedder):
            announce(found)
            so_far = so_far.model_copy(update={"results": [*so_far.results, result_of(found)]})
            yield so_far
        for release, images in releases:
            rates = _judge_release(release, images, embedder, announce)
            so_far = so_far.model_copy(update={"ijb": [*so_far.ijb, rates]})
            yield so_far


def _judge_release(opened: IjbRelease, images: ReleaseImages, embedder: Embedder, announce: Announce) -> IjbResult:
    """The rates of one release under the usual choice of pooling, all choices announced."""
    # Nothing is kept beside the checkpoint: it is mounted read-only, and an evaluator looks at it once.
    results = ijb.verify_release(opened, ijb.embed_release(images, embedder, cache=None))
    announce(table_of(opened.name, results))
    return ijb.ijb_result(opened, results[0])


def _release_folders(evaluation: RunEvaluation) -> list[Path]:
    """The folder of each IJB release, as its archive has them."""
    return [Path(evaluation.directory) / RELEASES / name for name in evaluation.ijb]
