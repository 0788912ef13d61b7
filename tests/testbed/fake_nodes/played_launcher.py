"""The launcher of a played pod: the trainer's own `Launches`, in a thread; only the ranks that it starts are played.

What launchers say to each other and to the operator, which calls they heed, how they wait, meet, and read a rank table,
is the very code of pods. What is repeated here is `launcher._Pod.launch_until_the_end`, which starts processes.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Thread, current_thread

from arcface_api.contract.launcher_words import LaunchCall
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure, TrainerReport
from arcface_api.errors import ExitCode, InvalidInput
from arcface_trainer.pod.launches import Launches
from testbed.fake_nodes.played_ranks import MeetingPlace, PlayedRanks, RankDeath
from testbed.fake_nodes.scripts import Ending, Ranks, as_text

POLL_SECONDS = 0.05
STOPPED = Ending(exit_code=int(ExitCode.STOPPED))
GIVEN_UP = Ending(exit_code=1)
"""Of ranks that give a dead one up."""


class _StopAsked(BaseException):
    """A request to stop came while no rank was there."""


class _CalledLaunches(Launches):
    """Those of a pod that ends when it is killed, whatever it waits for: each wait looks for a call.

    Python lets a thread end by SystemExit without a word, and by that itself alone: `Launches` has threads of its own.
    """

    pod: "PlayedLauncher"

    def _call(self) -> LaunchCall:
        if self.pod.is_over.is_set():
            raise SystemExit
        if self.pod.is_meeting and self.pod.is_stopped and current_thread() is self.pod.thread:
            raise _StopAsked
        return super()._call()

    def _tell_of_start(self, launch: int) -> None:
        with contextlib.suppress(SystemExit):
            super()._tell_of_start(launch)


@dataclass(eq=False)
class PlayedLauncher:
    """The launcher of one pod."""

    identity: RankIdentity
    """Of its first rank."""
    pods: int
    """Of its gang."""
    script: Ranks
    played: PlayedRanks
    is_reachable: Callable[[], bool]
    """Whether its node is; nobody is answered by one that is not."""
    ended: Callable[[Ending | Exception], None]
    """Told of its end, from its own thread."""
    is_over: Event = field(default_factory=Event)
    """Set when the pod is killed, or has ended."""
    is_meeting: bool = True
    stops_at: float | None = None
    """When ranks that are asked to stop have saved."""
    death: Ending | None = None
    """Of its ranks, which is to come."""
    place: MeetingPlace | None = None
    """Of its ranks, while they are there."""
    thread: Thread | None = None
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def is_stopped(self) -> bool:
        """Whether the pod has been asked to stop."""
        return self.stops_at is not None

    def start(self) -> None:
        """Begin, in a thread."""
        self.thread = Thread(target=self._run, daemon=True, name=f"launcher {self.identity.address}")
        self.thread.start()

    def stop(self, seconds: float) -> None:
        """SIGTERM: its ranks need so long to save."""
        self.stops_at = time.monotonic() + seconds

    def kill(self) -> None:
        """SIGKILL, of which nobody is told."""
        self.is_over.set()

    def end_ranks(self, ending: Ending) -> None:
        """A rank ends by itself; LookupError where none is there."""
        if self.place is None or self.is_over.is_set():
            raise LookupError(self.identity.address)
        self.death = ending

    def progress(self) -> str | None:
        """What rank 0 serves; None where there is no rank."""
        place = self.place
        if place is None:
            return None
        seconds = self.played.look(place, time.monotonic())[0]
        is_silent = seconds is not None and self._scripted(place.launch).told(seconds) is None
        return None if is_silent else self._signed(self._told(place.launch, seconds), place.launch).to_json()

    def _signed(self, report: TrainerReport, launch: int) -> TrainerReport:
        """A report with the job, the attempt and the launch that it is of."""
        return report.signed(replace(self.identity, launch=launch))

    def _told(self, launch: int, seconds: float | None) -> TrainerReport:
        """What ranks tell that have trained for so long; nothing before they have met."""
        told = None if seconds is None else self._scripted(launch).told(seconds)
        return TrainerReport() if told is None else TrainerReport.model_validate_json(as_text(told))

    def _scripted(self, launch: int) -> Ranks:
        again = self.script.again
        return self.script if not launch or again is None else again

    def _run(self) -> None:
        launches = _CalledLaunches.begin(self.identity)
        launches.pod = self
        self._watch_connections(launches)
        try:
            ending: Ending | Exception = self._launch_until_the_end(launches)
        except SystemExit:
            return
        except _StopAsked:
            ending = STOPPED
        except InvalidInput as error:
            failure = ReportedFailure(reason="InvalidInput", message=str(error), rank=self.identity.rank, exit_code=2)
            ending = Ending(exit_code=2, message=TrainerReport(failure=failure))
        except Exception as error:  # noqa: BLE001 - raised again by the kubelet
            ending = error
        finally:
            self.is_over.set()
            self._leave()
            self._close(launches)
        self.ended(ending)

    def _watch_connections(self, launches: Launches) -> None:
        """Nobody gets an answer from a pod that is over or whose node is lost."""
        server = launches.server
        if server is None:
            raise RuntimeError(f"nothing can listen at {self.identity.address}")
        process = server.process_request

        def process_request(request: socket.socket, client: object) -> None:
            self.connections.append(request)
            process(request, client)

        server.process_request = process_request
        server.verify_request = lambda *_: self.is_reachable() and not self.is_over.is_set()

    def _close(self, launches: Launches) -> None:
        """Connections break with the process."""
        for each in self.connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if launches.server is not None:
            launches.server.shutdown()
            launches.server.server_close()

    def _launch_until_the_end(self, launches: Launches) -> Ending:
        launches.meet()
        while True:
            self.is_meeting = False
            ending = self._launch(launches)
            if ending is not None and not self._is_launched_again(launches, ending):
                if ending.exit_code not in {0, ExitCode.STOPPED}:
                    self.played.ended(self.identity.address)
                return ending
            self.is_meeting = True
            launches.meet()

    def _launch(self, launches: Launches) -> Ending | None:
        """The ranks of one launch; their end, None where another one is called for."""
        own, point = launches.identity, launches.meeting
        scheduler = own.address if point is None else point.scheduler
        place = MeetingPlace(own.job_uid, own.attempt or 0, own.launch, scheduler)
        self.death = None
        self.played.join(place, own.rank, self.pods, time.monotonic())
        self.place = place
        launches.tell_of_start()
        try:
            while not launches.is_called:
                if (ending := self._end_of_ranks(place)) is not None:
                    return ending
                time.sleep(POLL_SECONDS)
        finally:
            self._leave()
        return None

    def _end_of_ranks(self, place: MeetingPlace) -> Ending | None:
        """What ends the ranks by now."""
        now, script = time.monotonic(), self._scripted(place.launch)
        seconds, is_stopped, vain = self.played.look(place, now)
        if (death := self.death) is not None:
            return self._died(place, death, seconds)
        if self.stops_at is not None and now >= self.stops_at:
            self.played.stop(place, now)
            return self._dead(place, STOPPED, seconds)
        if is_stopped:
            return self._dead(place, STOPPED, seconds)
        if script.trains is not None and seconds is not None and seconds >= script.trains:
            if script.ending.exit_code:
                return self._died(place, script.ending, seconds)
            report = TrainerReport.parse(as_text(script.ending.message))
            return Ending() if report is None else Ending(message=self._signed(report, place.launch))
        if script.gives_up is not None and vain is not None and vain >= script.gives_up:
            return self._died(place, GIVEN_UP, seconds, is_own=False)
        return None

    def _died(self, place: MeetingPlace, ending: Ending, seconds: float | None, *, is_own: bool = True) -> Ending:
        """The same of ranks that nobody asked to end."""
        own = self.identity
        where = {"job_uid": place.job_uid, "attempt": place.attempt, "launch": place.launch, "address": own.address}
        self.played.died(RankDeath(pod=own.rank, exit_code=ending.exit_code, is_own=is_own, **where))
        return self._dead(place, ending, seconds)

    def _dead(self, place: MeetingPlace, ending: Ending, seconds: float | None) -> Ending:
        """The end of ranks that have failed, with a report that tells why."""
        report = TrainerReport.parse(as_text(ending.message)) or TrainerReport()
        code = ending.exit_code
        reason = "Stopped" if code == ExitCode.STOPPED else "RankDied"
        message = f"rank {self.identity.rank} ended with exit code {code} after {seconds or 0:.1f} s"
        failure = report.failure or ReportedFailure(
            reason=reason, message=message, rank=self.identity.rank, exit_code=code
        )
        told = self._told(place.launch, seconds).model_copy(update={"failure": failure})
        dead = told if self.identity.rank == 0 else TrainerReport(failure=failure)
        return Ending(exit_code=code, message=self._signed(dead, place.launch))

    def _is_launched_again(self, launches: Launches, ending: Ending) -> bool:
        """Whether ranks that have failed are to be launched again, by the operator's word."""
        report = TrainerReport.parse(as_text(ending.message))
        if report is None or report.failure is None or self.is_stopped:
            return False
        step = 0 if report.progress is None else report.progress.step
        return launches.is_called_after(report.failure, step, lambda: self.is_stopped)

    def _leave(self) -> None:
        if self.place is not None:
            self.played.leave(self.place, self.identity.rank, time.monotonic())
            self.place = None
