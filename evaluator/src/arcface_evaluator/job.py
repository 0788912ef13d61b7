"""The evaluator's pod of a job: newest checkpoint, all sets of the run configuration, report in the termination log."""

from collections.abc import Callable, Iterator
from pathlib import Path

from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_api.reports import EvaluatorReport, FailureReason, ReportedFailure, termination_message
from arcface_api.run_config import RunConfig, RunEvaluation
from arcface_evaluator.checkpoint_network import CheckpointNetwork
from arcface_evaluator.pair_protocol import PairReport
from arcface_evaluator.pairs import from_network, open_sets
from arcface_evaluator.report import result_of

BATCH_SIZE = 64

OpenCheckpoint = Callable[[Path], CheckpointNetwork]
Announce = Callable[[PairReport], object]


def run_job(config_file: Path, termination_log: Path, open_checkpoint: OpenCheckpoint, announce: Announce) -> None:
    """Evaluate and leave a report, whatever happens; a failure is raised again after it is written."""
    try:
        report = evaluate_job(read_config(config_file), open_checkpoint, announce)
    except Exception as error:
        write_report(EvaluatorReport(failure=failure_of(error)), termination_log)
        raise
    write_report(report, termination_log)


def evaluate_job(config: RunConfig, open_checkpoint: OpenCheckpoint, announce: Announce) -> EvaluatorReport:
    """Evaluate the job's newest checkpoint on its sets; all sets are checked before the network is loaded."""
    if config.evaluation is None:
        raise InvalidInput(f"job {config.job}: spec.evaluation is absent, there is nothing to evaluate")
    sets = open_sets(set_files(config.evaluation))
    checkpoint = open_checkpoint(Path(config.checkpoint.directory))
    results = []
    for report in from_network(sets, checkpoint.network, BATCH_SIZE):
        announce(report)
        results.append(result_of(report))
    return EvaluatorReport(checkpoint=str(checkpoint.folder), results=results)


def set_files(evaluation: RunEvaluation) -> Iterator[Path]:
    """The `.bin` of each set; InvalidInput names the first that is missing."""
    for name in evaluation.sets:
        path = Path(evaluation.directory) / f"{name}.bin"
        if not path.is_file():
            raise InvalidInput(f"{path}: is missing; put the set there or take {name} out of spec.evaluation.sets")
        yield path


def read_config(path: Path) -> RunConfig:
    """The run configuration of the job."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}): the operator mounts it") from error
    return RunConfig.from_json(text, str(path))


def failure_of(error: Exception) -> ReportedFailure:
    """What the operator is told about an error."""
    code = error.exit_code if isinstance(error, ArcFaceError) else ExitCode.FAILED
    reason: FailureReason = "InvalidInput" if isinstance(error, InvalidInput) else "Error"
    message = str(error) if isinstance(error, ArcFaceError) else f"{type(error).__name__}: {error}"
    return ReportedFailure(reason=reason, message=" ".join(message.split()), exit_code=int(code))


def write_report(report: EvaluatorReport, termination_log: Path) -> None:
    """Leave the report where the kubelet looks for it."""
    try:
        termination_log.write_bytes(termination_message(report))
    except OSError as error:
        raise InvalidInput(f"{termination_log}: cannot be written ({error.strerror}): name another file") from error
