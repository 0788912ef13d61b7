"""The main process of a worker pod: starts its ranks (and in rank 0's pod MindSpore's scheduler) and reports their end.

Processes rather than threads since MindSpore keeps one rank per process. The first rank that fails ends the others of
its pod: they wait for it inside collectives and have nothing to save. Then the operator has all pods launch their ranks
anew, in place (`launches`), or the pod ends.
"""

import contextlib
import functools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract import pod_environment, reports, run_config
from arcface_api.errors import ArcFaceError, ExitCode, Stopped
from arcface_trainer import shared_memory, standby
from arcface_trainer.pod import pinning
from arcface_trainer.pod.launches import Launches
from arcface_trainer.pod.pod_states import PodStates
from arcface_trainer.pod.processes import GRACE_SECONDS, RankProcess, SchedulerProcess, rank_environment, shell_status
from arcface_trainer.pod.standbys import Standbys
from arcface_trainer.pod.watchdog import Watchdog

POLL_SECONDS = 0.1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LEAVE_SECONDS = 120.0
"""Between the ends of a pod's first and last rank: all have done the same steps and saved the same checkpoint."""


def launch(config_path: Path, termination_log: Path | None) -> int:
    """Run the ranks of this pod to their end; returns the pod's exit status."""

    def tell(report: reports.TrainerReport) -> None:
        if termination_log is not None:
            report.write(termination_log)

    try:
        return _run_until_stopped(config_path, tell)
    except ArcFaceError as error:
        tell(reports.TrainerReport(failure=reports.failure_from(error)))
        raise


class _StopAsked(BaseException):
    """A signal came. No Exception, which logging, for one, would swallow."""


def _run_until_stopped(config_path: Path, tell: Callable[[reports.TrainerReport], None]) -> int:
    _end_on_signals()
    try:
        return _run(config_path, tell)
    except _StopAsked:
        raise Stopped("stopped before the pods had met; nothing had to be saved") from None


def _run(config_path: Path, tell: Callable[[reports.TrainerReport], None]) -> int:
    """Launch the ranks, again as often as the operator asks for it, until the pod has come to its end; its status."""
    config = run_config.RunConfig.read(config_path)
    identity = pod_environment.RankIdentity.from_environment()
    launches = Launches.begin(identity)
    launches.meet()
    # Signals before children: one that comes in between must not be lost.
    ranks, signals = list[RankProcess](), list[int]()
    _forward_signals(ranks, signals)
    with shared_memory.folder_of_launcher() as states, contextlib.closing(Standbys()) as standbys:
        variables = os.environ if states is None else os.environ | {pod_environment.STATES: str(states)}
        pod = _Pod(config_path, config, variables, ranks, signals, standbys, tell)
        if states is None:
            return pod.launch_until_the_end(launches)
        kept = PodStates(config, launches, states, ranks, signals)
        kept.begin()
        try:
            status = pod.launch_until_the_end(launches)
        except _StopAsked:  # between two launches
            _forward_signals(ranks, signals)  # another one would end the saving
            kept.end(ExitCode.STOPPED)
            raise
        kept.end(status)
        return status


@dataclass(frozen=True)
class _Pod:
    """What the launches of a pod's ranks have in common."""

    config_path: Path
    config: run_config.RunConfig
    variables: Mapping[str, str]
    """Environment of each launch."""
    ranks: list[RankProcess]
    """Of the present launch."""
    signals: list[int]
    """Requests to stop that have come."""
    standbys: Standbys
    tell: Callable[[reports.TrainerReport], None]
    """Leave a report."""

    @functools.cached_property
    def shares(self) -> list[frozenset[int]]:
        """Cores of each rank; the machine is asked once, which takes npu-smi its time."""
        return [frozenset(share) for share in pinning.core_shares(self.config.ranks)]

    def launch_until_the_end(self, launches: Launches) -> int:
        """Launch the ranks until none are wanted any more; the pod's exit status.

        Its report is left at once: whoever asks it to end may not give it the time to save what is in memory.
        """
        while True:
            end = self.launch(launches)
            if end is not None and not self.is_launched_again(launches, end[0]):
                self.tell(end[0].signed(launches.identity))
                return end[1]
            self.meet(launches)

    def launch(self, launches: Launches) -> tuple[reports.TrainerReport, int] | None:
        """Run the ranks; the pod's report and exit status, None where the operator calls for another launch."""
        identity, ranks = launches.identity, self.config.ranks
        self.ranks.clear()
        with tempfile.TemporaryDirectory(prefix="arcface-") as folder, contextlib.ExitStack() as stack:
            environments = [
                rank_environment(self.variables, ranks, identity, launches.meeting, local)
                for local in range(ranks.per_pod)
            ]
            process: SchedulerProcess | None = None
            if launches.meeting is not None and identity.rank == 0:
                process = SchedulerProcess.start(self.standbys, environments[0])
                stack.callback(process.end, self.ranks)
            for local, environment in enumerate(environments):
                program = standby.Program(RankProcess.MODULE, environment, is_logged=True, cores=self.shares[local])
                self.ranks.append(RankProcess.start(self.standbys, program, self.config_path, Path(folder), local))
            if self.signals:
                for rank in self.ranks:
                    rank.stop()
            launches.tell_of_start()
            watchdog = Watchdog.of(self.config.stall_seconds)
            return _wait(self.ranks, watchdog, process, functools.partial(self._is_called, launches))

    def _is_called(self, launches: Launches) -> bool:
        """Whether the operator calls for another launch, for which processes are kept once all ranks train."""
        if launches.identity.launch_file is not None and all(rank.has_stepped for rank in self.ranks):
            self.standbys.prepare()
        return launches.is_called

    def is_launched_again(self, launches: Launches, report: reports.TrainerReport) -> bool:
        """Whether ranks that have failed are to be launched again, by the operator's word."""
        if report.failure is None or self.signals:
            return False
        if report.failure.reason == "Stopped" and self.config.ranks.per_pod == self.config.ranks.world_size:
            return False  # by no rank of another pod
        step = max((rank.last_step for rank in self.ranks), default=0)
        return launches.is_called_after(report.failure, step, lambda: bool(self.signals))

    def meet(self, launches: Launches) -> None:
        """Come to the launch that is called for; no rank is there meanwhile that would have to save.

        A new pod has no compiled step: ranks that have theirs would wait for it in a collective, which MindSpore's for
        the CPU gives up after a minute.

        Raises:
            _StopAsked: where a request to stop has come.
        """
        before = launches.meeting
        _end_on_signals()
        if self.signals:
            raise _StopAsked
        launches.meet()
        if launches.meeting != before and (states := self.variables.get(pod_environment.STATES)) is not None:
            shared_memory.remove_graphs(Path(states))
        _forward_signals(self.ranks, self.signals)


def _end_on_signals() -> None:
    """End the waiting for other pods when asked to stop.

    The first process of a container ignores every signal that it has no handler for.
    """

    def on_signal(_number: int, _frame: object) -> None:
        raise _StopAsked

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)


def _forward_signals(ranks: list[RankProcess], received: list[int]) -> None:
    """Pass requests to stop on to the ranks, and note them."""

    def on_signal(number: int, _frame: object) -> None:
        received.append(number)
        for rank in ranks:
            rank.stop()

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)


def _wait(
    ranks: list[RankProcess],
    watchdog: Watchdog,
    scheduler: SchedulerProcess | None = None,
    is_called: Callable[[], bool] = lambda: False,
    leave_seconds: float = LEAVE_SECONDS,
) -> tuple[reports.TrainerReport, int] | None:
    """Wait until all ranks have ended well, or the first one has not, or they wait for one that does not come.

    None where the operator calls for another launch before: the ranks are ended, since they wait for a dead one.
    """
    first_end: float | None = None
    is_killed = False
    while not is_called():
        is_running = not is_killed and any(rank.is_running for rank in ranks)
        if (failed := _first_failed(ranks)) is not None:
            rank, status = failed
            remark = watchdog.behind(ranks, rank)
            _kill(ranks)  # its peers wait for it in vain
            return _with_remark(rank.report(), remark), status
        if not is_running:
            return _joint_end(ranks)
        if (found := _waited_for_in_vain(ranks, watchdog, scheduler)) is not None:
            return _given_up(ranks, *found)
        if first_end is None and any(rank.is_finished for rank in ranks):
            first_end = time.monotonic()
        if first_end is not None and time.monotonic() - first_end > leave_seconds:
            behind = next((rank for rank in ranks if not rank.is_finished), None)
            if behind is not None:
                # A message to it was lost when a peer left: no rank waits for another in a collective for ever.
                message = f"rank {behind.rank} did not end within {leave_seconds:g} s of the first rank"
                return _given_up(ranks, behind, message)
            _kill(ranks)
            is_killed = True
            continue
        time.sleep(POLL_SECONDS)
    _kill(ranks)
    return None


def _waited_for_in_vain(
    ranks: list[RankProcess], watchdog: Watchdog, scheduler: SchedulerProcess | None
) -> tuple[RankProcess, str, reports.Standstill | None] | None:
    """A rank that gets nowhere, why, and what it does where it is itself that stands still."""
    if scheduler is not None and (message := scheduler.loss(ranks)) is not None:
        return ranks[0], message, None
    stall = watchdog.look(ranks, time.monotonic())
    return None if stall is None else (stall.rank, stall.message, stall.standstill)


def _with_remark(report: reports.TrainerReport, remark: str | None) -> reports.TrainerReport:
    """The report of a rank that left none, with what its launcher knows beside."""
    failure = report.failure
    if remark is None or failure is None or failure.reason != "RankDied":
        return report
    told = failure.model_copy(update={"message": f"{failure.message}; {remark}"})
    return report.model_copy(update={"failure": told})


def _first_failed(ranks: list[RankProcess]) -> tuple[RankProcess, int] | None:
    """A rank that ended before its work was done, and its exit status."""
    for rank in ranks:
        status = rank.status
        if rank.has_nothing_to_save or status not in {None, ExitCode.DONE, ExitCode.STOPPED}:
            return rank, shell_status(status or ExitCode.FAILED)
    return None


def _given_up(
    ranks: list[RankProcess], waiting: RankProcess, message: str, standstill: reports.Standstill | None = None
) -> tuple[reports.TrainerReport, int]:
    """The end of a pod with a rank that would wait for ever: worth another try."""
    _kill(ranks)
    return waiting.died(message, int(ExitCode.FAILED), standstill), ExitCode.FAILED


def _joint_end(ranks: list[RankProcess]) -> tuple[reports.TrainerReport, int]:
    """The end of a pod whose ranks all finished or stopped: rank 0's report, unless one of them was stopped."""
    stopped = [rank for rank in ranks if rank.status == ExitCode.STOPPED]
    last = (stopped or ranks)[0]
    skipped = max(rank.report().skipped_images for rank in ranks)
    return last.report().model_copy(update={"skipped_images": skipped}), last.status or ExitCode.DONE


def _kill(ranks: list[RankProcess]) -> None:
    """End all ranks; what is to be reported must not wait for one that not even a kill ends."""
    for rank in ranks:
        rank.kill()
    deadline = time.monotonic() + GRACE_SECONDS
    for rank in ranks:
        rank.wait_for_end(max(0.0, deadline - time.monotonic()))
