"""What a pod runs: ranks, each with the report that it leaves and the end of its log, and MindSpore's scheduler.

The scheduler runs beside rank 0; without it no rank joins the others.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, ClassVar, Self

from arcface_api.contract import pod_environment as pods, reports, run_config
from arcface_api.errors import ExitCode, Stopped
from arcface_trainer import heartbeat, standby
from arcface_trainer.device import compute_environment
from arcface_trainer.pod.rendezvous import MeetingPoint
from arcface_trainer.pod.standbys import Standbys

NODE_TIMEOUT_SECONDS = "60"
"""After this time without a heartbeat a rank counts as dead and MindSpore ends its peers."""
START_TIMEOUT_SECONDS = "86400"
"""MindSpore's patience for ranks that have not joined, where the pod gives none: longer than any start.

Ranks read their data before they join, for minutes where it is large. MindSpore's cluster is the barrier that evens
this out, before HCCL, whose own patience is shorter, makes the first connection.
"""
HEARTBEATS = 256
"""That MindSpore's scheduler gets in a second at most, as of 1,024 ranks at MindSpore's own interval, 4 s on average.

Nobody tells a rank that all have joined: it learns that by its next heartbeat (2.10, `ComputeGraphNode::Heartbeat`).
"""
OWN_INTERVAL_SECONDS = 4
CHATTER = b"[INFO] DISTRIBUTED("
"""Lines of MindSpore's cluster threads that no log level turns off."""
LOG_LINES = 20
"""Last lines of a rank that a report repeats."""
BY_SIGNAL = 128
"""A shell's exit status of a process that a signal ended, less the signal's number."""
GRACE_SECONDS = 10.0
"""In which the scheduler leaves after its ranks, or its ranks after it."""


def rank_environment(
    environment: Mapping[str, str],
    ranks: run_config.RunRanks,
    identity: pods.RankIdentity,
    meeting: MeetingPoint | None,
    local: int,
) -> dict[str, str]:
    """Environment of rank number `local` of this pod: MindSpore reads its settings when it is imported.

    Args:
        environment: of the pod.
        ranks: the gang.
        identity: of the pod's first rank.
        meeting: where the ranks meet, None for a rank alone.
        local: number of the rank in the pod, and of its card as the container counts them.
    """
    settings = {
        "MS_NODE_TIMEOUT": NODE_TIMEOUT_SECONDS,
        pods.JOIN_TIMEOUT: START_TIMEOUT_SECONDS,
        **_heartbeat_interval(environment, ranks.world_size),
        **compute_environment(environment, ranks.accelerator),
    }
    rank = str(identity.rank + local)
    own = {pods.NODE_ID: rank, pods.WORKER_NUM: str(ranks.world_size), pods.LAUNCH: str(identity.launch)}
    if ranks.accelerator == "ascend":
        own[pods.DEVICE_ID] = str(local)
    if meeting is None:
        return {name: value for name, value in settings.items() if name not in pods.MEETING} | own
    own |= {pods.ROLE: pods.WORKER, pods.SCHEDULER_HOST: meeting.scheduler}
    own[pods.SCHEDULER_PORT] = str(identity.scheduler_port + identity.launch % pods.RENDEZVOUS_PORTS)
    if identity.rank_table is not None:
        own |= {pods.RANK_ID: rank, pods.RANK_SIZE: str(ranks.world_size)}
    if meeting.super_pod is not None:
        own[pods.HCCL_SUPER_POD] = meeting.super_pod  # by the nodes, which nobody knew when the pod was made
    return settings | own


def _heartbeat_interval(environment: Mapping[str, str], world_size: int) -> dict[str, str]:
    """Whole seconds between a rank's heartbeats, 0 being no pause at all; none where the pod has bounds of its own."""
    seconds, bounds = -(-world_size // HEARTBEATS), ("MS_RETRY_INTERVAL_LOWER", "MS_RETRY_INTERVAL_UPPER")
    is_ours = seconds < OWN_INTERVAL_SECONDS and not any(bound in environment for bound in bounds)
    return dict.fromkeys(bounds, str(seconds)) if is_ours else {}


@dataclass(slots=True)
class RankProcess:
    """A rank and the end of its log."""

    MODULE: ClassVar[str] = "arcface_trainer.training.rank"

    rank: int
    process: subprocess.Popen[bytes]
    report_path: Path
    tail: deque[str]
    reader: Thread
    is_asked_to_stop: bool = False
    is_killed: bool = False
    """Then its report counts although its process may still be there."""
    last_step: int = 0
    """Updates that it had made when it was last looked at."""

    @classmethod
    def start(cls, standbys: Standbys, program: standby.Program, config: Path, folder: Path, local: int) -> Self:
        """Start rank number `local` of this pod; it leaves its report in `folder`."""
        rank = int(program.environment[pods.NODE_ID])
        report_path = folder / f"rank-{rank}.json"
        process = standbys.start(program, str(config), str(report_path), str(local))
        tail: deque[str] = deque(maxlen=LOG_LINES)
        assert process.stdout is not None  # noqa: S101 - its output was asked for
        reader = Thread(target=_copy_log, args=(process.stdout, tail), daemon=True)
        reader.start()
        return cls(rank, process, report_path, tail, reader)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    @property
    def is_finished(self) -> bool:
        """Whether the rank has nothing left to do; its process may still be in MindSpore's teardown."""
        return not self.is_running or self.report_path.is_file()

    @property
    def status(self) -> int | None:
        """How the rank ended, None while it runs; by signal n: -n.

        Its report counts before its exit status: it is written last, and MindSpore's teardown, in which ranks that
        leave at different moments may kill each other, comes after it. A failure is told before that takes its time.
        """
        status, report = self.process.poll(), self._written_report()
        if report is None:
            return ExitCode.STOPPED if self.has_nothing_to_save else status
        code = report.failure.exit_code if report.failure else ExitCode.DONE
        is_over = status is not None or self.is_killed or code not in {ExitCode.DONE, ExitCode.STOPPED}
        return code if is_over else None

    @property
    def has_nothing_to_save(self) -> bool:
        """Whether the rank was stopped before it had joined the others: until then SIGTERM ends it outright."""
        ended_by_it = self.process.poll() == -signal.SIGTERM
        return self.is_asked_to_stop and ended_by_it and not self.report_path.is_file()

    def stop(self) -> None:
        """Ask the rank to save its state and end."""
        self.is_asked_to_stop = True
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, which `wait_for_end` waits for."""
        self.is_killed = True
        if self.is_running:
            self.process.kill()

    def wait_for_end(self, seconds: float) -> None:
        """Wait for a killed process; one that waits in a driver or for a dead disk stays until that lets it go."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    @property
    def has_stepped(self) -> bool:
        """Whether its start is over, with the first step."""
        beat = self.beat()
        return beat is not None and beat.phase is not heartbeat.Phase.START

    def beat(self) -> heartbeat.Beat | None:
        """What it is doing; None until it trains."""
        beat = heartbeat.read_beat(self.report_path.with_suffix(heartbeat.SUFFIX))
        if beat is not None:
            self.last_step = beat.step
        return beat

    def report(self) -> reports.TrainerReport:
        """What the ended rank wrote, or what can be told of one that could not write."""
        self.reader.join(timeout=5)
        if (report := self._written_report()) is not None:
            if report.failure is None:
                return report
            return report.model_copy(update={"failure": report.failure.model_copy(update={"log": list(self.tail)})})
        if self.has_nothing_to_save:
            stopped = Stopped("stopped before the ranks had joined; nothing had to be saved")
            return reports.TrainerReport(failure=reports.failure_from(stopped, self.rank))
        code = self.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return self.died(f"rank {self.rank} died with {how}", shell_status(code))

    def died(self, message: str, exit_code: int, standstill: reports.Standstill | None = None) -> reports.TrainerReport:
        """The report of a rank that left none; of one that stood still, with what it did."""
        reason: reports.FailureReason = "RankDied" if standstill is None else "Stalled"
        failure = reports.ReportedFailure(
            reason=reason,
            message=message,
            rank=self.rank,
            exit_code=exit_code,
            log=list(self.tail),
            standstill=standstill,
        )
        return reports.TrainerReport(failure=failure)

    def _written_report(self) -> reports.TrainerReport | None:
        if not self.report_path.is_file():
            return None
        return reports.TrainerReport.from_ours(self.report_path.read_bytes(), str(self.report_path))


@dataclass(slots=True)
class SchedulerProcess:
    """MindSpore's scheduler, and since when it is gone."""

    MODULE: ClassVar[str] = "arcface_trainer.distributed.scheduler"

    process: subprocess.Popen[bytes]
    grace_seconds: float = GRACE_SECONDS
    gone_since: float | None = None
    """Seconds of `time.monotonic`."""

    @classmethod
    def start(cls, standbys: Standbys, environment: dict[str, str]) -> Self:
        """Start it with the environment of a rank."""
        return cls(standbys.start(standby.Program(cls.MODULE, environment | {pods.ROLE: pods.SCHEDULER})))

    def loss(self, ranks: Sequence[RankProcess]) -> str | None:
        """What is said of a scheduler that is gone while no rank is done; ranks that have not joined wait for it.

        Ranks that have joined may end by themselves, which says more: MindSpore ends it with a rank that is lost.
        """
        code = self.process.poll()
        if code is None or any(rank.is_finished for rank in ranks):
            return None
        if self.gone_since is None:
            self.gone_since = time.monotonic()
        if time.monotonic() - self.gone_since < self.grace_seconds:
            return None
        return f"MindSpore's scheduler ended with exit code {shell_status(code)} before its ranks: is its port in use?"

    def end(self, ranks: Sequence[RankProcess]) -> None:
        """It leaves by itself after its ranks; one that does not is killed, at once where ranks do not leave it."""
        is_needed = not any(rank.is_killed or rank.has_nothing_to_save for rank in ranks)
        try:
            self.process.wait(self.grace_seconds if is_needed else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def shell_status(code: int) -> int:
    """Exit status as a shell gives it, for a process that ended by signal n (-n), too."""
    return BY_SIGNAL - code if code < 0 else code


def _copy_log(stream: IO[bytes], tail: deque[str]) -> None:
    for line in stream:
        if line.startswith(CHATTER):
            continue
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        tail.append(line.decode(errors="replace").rstrip())
