"""The main process of a worker pod: starts its ranks (and in rank 0's pod MindSpore's scheduler) and reports their end.

Processes rather than threads since MindSpore keeps one rank per process. The first rank that fails ends the pod: its
peers wait for it inside collectives and have nothing to save.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from arcface_api.contract.pod_environment import ROLE, SCHEDULER, RankIdentity
from arcface_api.contract.reports import ReportedFailure, TrainerReport, failure_from
from arcface_api.contract.run_config import RunConfig
from arcface_api.cpu_affinity import core_share
from arcface_api.errors import ArcFaceError, ExitCode
from arcface_trainer.pod.environment import rank_environment
from arcface_trainer.pod.rendezvous import await_rank_table, scheduler_address

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.1
SCHEDULER_GRACE_SECONDS = 10.0
LEAVE_SECONDS = 120.0
"""Between the ends of a pod's first and last rank: all have done the same steps and saved the same checkpoint."""
CHATTER = b"[INFO] DISTRIBUTED("
"""Lines of MindSpore's cluster threads that no log level turns off."""
LOG_LINES = 20
"""Last lines of a rank that a report repeats."""


@dataclass(slots=True)
class RankProcess:
    """A rank and the end of its log."""

    rank: int
    process: subprocess.Popen[bytes]
    report: Path
    tail: deque[str]
    reader: Thread


def launch(config_path: Path, termination_log: Path | None) -> int:
    """Run the ranks of this pod to their end; returns the pod's exit status."""
    try:
        report, status = _run(config_path)
    except ArcFaceError as error:
        if termination_log is not None:
            TrainerReport(failure=failure_from(error)).write(termination_log)
        raise
    if termination_log is not None:
        report.write(termination_log)
    return status


def _run(config_path: Path) -> tuple[TrainerReport, int]:
    config = RunConfig.read(config_path)
    identity = RankIdentity.from_environment()
    with tempfile.TemporaryDirectory(prefix="arcface-") as folder, contextlib.ExitStack() as stack:
        host = _meet(identity, config.ranks.world_size)
        environments = [
            rank_environment(os.environ, config, identity, host, local) for local in range(config.ranks.per_pod)
        ]
        ranks: list[RankProcess] = []
        # Signals before children: one that comes in between must not be lost.
        stop = _forward_signals(ranks)
        if identity.rank_table is None and config.ranks.world_size > 1 and identity.rank == 0:
            stack.callback(_end, _start_scheduler(environments[0]))
        for local, environment in enumerate(environments):
            rank = _start_rank(config_path, Path(folder), identity.rank + local, local, environment)
            if config.ranks.accelerator == "cpu":
                cores = core_share(os.sched_getaffinity(0), config.ranks.per_pod, local)
                os.sched_setaffinity(rank.process.pid, cores)
            ranks.append(rank)
        if stop:
            for rank in ranks:
                rank.process.send_signal(signal.SIGTERM)
        return _wait(ranks)


def _meet(identity: RankIdentity, world_size: int) -> str:
    """Wait until the other pods are known; returns the scheduler's address, which a rank table makes superfluous."""
    if identity.rank_table is not None:
        await_rank_table(identity.rank_table, identity)
        return identity.scheduler_host
    return scheduler_address(identity) if world_size > 1 else identity.scheduler_host


def _forward_signals(ranks: list[RankProcess]) -> list[int]:
    """Pass requests to stop on to the ranks; returns the list that they are noted in."""
    seen: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        seen.append(number)
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return seen


def _start_scheduler(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "arcface_trainer.pod.parent_bound", "arcface_trainer.pod.scheduler"],
        env=environment | {ROLE: SCHEDULER},
        start_new_session=True,
    )


def _start_rank(config: Path, folder: Path, rank: int, local: int, environment: dict[str, str]) -> RankProcess:
    report = folder / f"rank-{rank}.json"
    # A session of its own keeps a terminal's Ctrl-C from reaching the rank beside the signal that is passed on.
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "arcface_trainer.pod.parent_bound",
            "arcface_trainer.training.rank",
            config,
            report,
            str(local),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=LOG_LINES)
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    reader = Thread(target=_copy_log, args=(process.stdout, tail), daemon=True)
    reader.start()
    return RankProcess(rank, process, report, tail, reader)


def _copy_log(stream: IO[bytes], tail: deque[str]) -> None:
    for line in stream:
        if line.startswith(CHATTER):
            continue
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        tail.append(line.decode(errors="replace").rstrip())


def _wait(ranks: list[RankProcess], leave_seconds: float = LEAVE_SECONDS) -> tuple[TrainerReport, int]:
    """Wait until all ranks have ended well, or the first one has not, or one is left behind by the others."""
    first_end: float | None = None
    while True:
        is_running = any(rank.process.poll() is None for rank in ranks)
        for rank in ranks:
            if _status(rank) not in {None, ExitCode.DONE, ExitCode.STOPPED}:
                return _failed(rank, ranks)
        if not is_running:
            break
        if first_end is None and any(_has_ended(rank) for rank in ranks):
            first_end = time.monotonic()
        if first_end is not None and time.monotonic() - first_end > leave_seconds:
            behind = next((rank for rank in ranks if not _has_ended(rank)), None)
            _kill(ranks)
            if behind is not None:
                return _left_behind(behind, leave_seconds), ExitCode.FAILED
        time.sleep(POLL_SECONDS)
    stopped = [rank for rank in ranks if _status(rank) == ExitCode.STOPPED]
    last = (stopped or ranks)[0]
    skipped = max(_report_of(rank).skipped_images for rank in ranks)
    return _report_of(last).model_copy(update={"skipped_images": skipped}), _status(last) or ExitCode.DONE


def _status(rank: RankProcess) -> int | None:
    """How the rank ended, None while it runs.

    Its report counts before its exit status: it is written last, and MindSpore's teardown, in which ranks that leave at
    different moments may kill each other, comes after it.
    """
    status = rank.process.poll()
    if status is None or not rank.report.is_file():
        return status
    failure = TrainerReport.from_json(rank.report.read_bytes(), str(rank.report)).failure
    return failure.exit_code if failure else ExitCode.DONE


def _has_ended(rank: RankProcess) -> bool:
    """Whether a rank has nothing left to do; its process may still be in MindSpore's teardown."""
    return rank.process.poll() is not None or rank.report.is_file()


def _kill(ranks: list[RankProcess]) -> None:
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.kill()
            rank.process.wait()


def _left_behind(rank: RankProcess, seconds: float) -> TrainerReport:
    """A message to it was lost when a peer left: no rank waits for another in a collective for ever."""
    message = f"rank {rank.rank} did not end within {seconds:g} s of the first rank"
    failure = ReportedFailure(
        reason="RankDied", message=message, rank=rank.rank, exit_code=int(ExitCode.FAILED), log=list(rank.tail)
    )
    return TrainerReport(failure=failure)


def _failed(first: RankProcess, ranks: list[RankProcess]) -> tuple[TrainerReport, int]:
    _kill(ranks)
    code = _status(first) or ExitCode.FAILED
    return _report_of(first), 128 - code if code < 0 else code


def _report_of(rank: RankProcess) -> TrainerReport:
    """What the rank wrote, or what can be told of one that could not write."""
    rank.reader.join(timeout=5)
    code = rank.process.returncode
    if rank.report.is_file():
        report = TrainerReport.from_json(rank.report.read_bytes(), str(rank.report))
        if report.failure is None:
            return report
        return report.model_copy(update={"failure": report.failure.model_copy(update={"log": list(rank.tail)})})
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    failure = ReportedFailure(
        reason="RankDied",
        message=f"rank {rank.rank} died with {how}",
        rank=rank.rank,
        exit_code=128 - code if code < 0 else code,
        log=list(rank.tail),
    )
    return TrainerReport(failure=failure)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The scheduler leaves by itself after its ranks; one that does not is killed."""
    try:
        process.wait(SCHEDULER_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
