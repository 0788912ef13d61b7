"""One rank of the training, a process of its own: `python -m arcface_trainer.training.rank CONFIG REPORT LOCAL_RANK`.

The launcher starts it with the rank variables in its environment.
"""

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract.reports import FailureReason, ReportedFailure, TrainerReport, termination_message
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput, Stopped
from arcface_trainer.pod.identity import PodIdentity
from arcface_trainer.training.assembly import build_training_loop
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.metrics import serve

LOG = logging.getLogger(__name__)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
STOP_PATIENCE_SECONDS = 90.0
"""After a request to stop: a rank that waits for dead peers inside a collective cannot save and ends by itself."""
REASONS: dict[ExitCode, FailureReason] = {
    ExitCode.INVALID_INPUT: "InvalidInput",
    ExitCode.DIVERGED: "Diverged",
    ExitCode.STOPPED: "Stopped",
}


def _main(arguments: list[str]) -> int:
    """Run the rank and write its report; returns the exit status."""
    config_path, report_path, local_rank = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    identity = PodIdentity.from_environment()
    logging.basicConfig(level=logging.INFO if identity.first_rank == 0 else logging.WARNING, format=LOG_FORMAT)
    loop: TrainingLoop | None = None
    failure: ReportedFailure | None = None
    try:
        config = RunConfig.from_json(config_path.read_bytes(), str(config_path))
        loop = prepare(config, identity, local_rank, StopRequest.install())
        loop.run()
    except ArcFaceError as error:
        (LOG.info if isinstance(error, Stopped) else LOG.error)("%s", error)
        failure = _failure_of(error, identity.first_rank)
    report = TrainerReport(failure=failure) if loop is None else loop.report(failure)
    partial = report_path.with_suffix(".partial")
    partial.write_bytes(termination_message(report))
    partial.rename(report_path)  # the launcher may look at any time
    return failure.exit_code if failure else ExitCode.DONE


def _failure_of(error: ArcFaceError, rank: int) -> ReportedFailure:
    """The error as the report tells it."""
    return ReportedFailure(
        reason=REASONS.get(error.exit_code, "Error"), message=str(error), rank=rank, exit_code=error.exit_code
    )


@dataclass
class StopRequest:
    """Whether SIGTERM or SIGINT came."""

    is_wanted: bool = False

    @classmethod
    def install(cls) -> "StopRequest":
        """Take over the signals."""
        request = cls()

        def on_signal(_number: int, _frame: object) -> None:
            if not request.is_wanted:
                request.is_wanted = True
                threading.Thread(target=_end_after_patience, daemon=True).start()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        return request


def _end_after_patience() -> None:
    """End the process when stopping in order did not work out."""
    time.sleep(STOP_PATIENCE_SECONDS)
    os._exit(ExitCode.FAILED)


def prepare(config: RunConfig, identity: PodIdentity, local_rank: int, stop: StopRequest) -> TrainingLoop:
    """A loop that is ready to run, its figures served."""
    rank, world_size = identity.first_rank, config.ranks.world_size
    if identity.world_size != world_size:
        raise InvalidInput(f"MS_WORKER_NUM={identity.world_size}, but the run has {world_size} ranks")
    loop = build_training_loop(config, rank, lambda: stop.is_wanted)
    port = config.metrics_port + local_rank if config.metrics_port else 0
    serve(identity.address, port, loop.metrics, loop.report if rank == 0 else None)
    return loop


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
