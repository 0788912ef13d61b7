"""A job on this machine from its first pod to its end: the operator's decision, and its actions carried out here.

Requests to stop come by Ctrl-C or a signal: the first asks to save and stop, the second to stop at once.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from arcface_api.contract.launcher_words import GangWord
from arcface_api.errors import Stopped
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision import observation, prerequisites, stages
from arcface_operator.decision.context import launch_of
from arcface_operator.decision.decide import FINAL_PHASES, GANG_PHASES, WAITING_PHASES, decide
from arcface_operator.decision.plan import Action, Plan
from arcface_operator.local.progress import Narrator, Report, probe_report, probe_words
from arcface_operator.settings import Settings

TICK_SECONDS = 0.1
PROBE_SECONDS = 0.5
WORD_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts requests."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, _number: int, _frame: object) -> None:
        """Signal handler; it only counts, since it may interrupt anything."""
        self.count += 1

    def wait_before_start(self, seconds: float) -> None:
        """Wait while nothing of the run is there that would have to save.

        Raises:
            Stopped: where a request has come.
        """
        if self.count:
            raise Stopped("stopped before anything was started; the same command starts it")
        time.sleep(seconds)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Requests that come while the context lasts."""
    requests = StopRequests()
    before = {number: signal.signal(number, requests.take) for number in SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Pods(Protocol):
    """Where the pods of a run are."""

    def look(self) -> tuple[observation.PodView, ...]:
        """All pods as they are now."""

    def carry_out(self, actions: tuple[Action, ...]) -> None:
        """Take what a decision asks for."""

    def kill(self) -> None:
        """End every pod now."""


class LocalReconciler:
    """Observes, decides and acts until a job has ended, or rests by its user's wish."""

    def __init__(
        self, job: ArcFaceTrainingJob, pods: Pods, settings: Settings, narrator: Narrator, stop: StopRequests
    ) -> None:
        self.job = job
        self.pods = pods
        self.settings = settings
        self.narrator = narrator
        self.stop = stop
        self.probe: Callable[[str, type[Report]], Report | None] = probe_report
        self.listen: Callable[[str], GangWord | None] = probe_words
        self.now: Callable[[], datetime] = narrator.now
        self.wait: Callable[[float], None] = time.sleep
        self.clock: Callable[[], float] = time.monotonic
        self.watched_since = self.now()
        self.stuck_since: dict[str, datetime] = {}
        self.next_probe = self.next_word = 0.0
        self.words: observation.HeardWords | None = None

    def run(self) -> ArcFaceTrainingJobStatus:
        """The status in the end."""
        while not self.look():
            self.wait(TICK_SECONDS)
        return self.job.status

    def look(self) -> bool:
        """One look, and what follows from it; True where nothing more does."""
        self._heed_requests()
        pods = self.pods.look()
        observed = self._observe(pods)
        plan = decide(observed, self.settings, self.now())
        self.narrator.tell(observed, plan)
        self.job = self.job.model_copy(update={"status": plan.status})
        self.pods.carry_out(plan.actions)
        return _is_over(plan, pods)

    def _heed_requests(self) -> None:
        """The first request suspends the job, as a user of the cluster would; the second ends its pods."""
        if self.stop.count and not self.job.spec.suspend:
            self.job = self.job.model_copy(update={"spec": self.job.spec.model_copy(update={"suspend": True})})
            self.narrator.tell_of_stop()
        if self.stop.count > 1:
            self.pods.kill()

    def _observe(self, pods: tuple[observation.PodView, ...]) -> observation.Observation:
        """All that a decision looks at; storage is there, and cards have been taken."""
        claims = dict.fromkeys(prerequisites.claims_of(self.job), observation.ClaimView("Bound", ("ReadWriteMany",)))
        waits = self.job.status.phase in WAITING_PHASES
        self.stuck_since = observation.stuck_since(pods, self.stuck_since, self.now())
        return observation.Observation(
            job=self.job,
            pods=pods,
            prerequisites=observation.Prerequisites(claims=claims, devices=None) if waits else None,
            report=self._report(pods) if self.job.status.phase in GANG_PHASES else None,
            words=self._words(pods),
            stuck_since=self.stuck_since,
            watched_since=self.watched_since,
        )

    def _report(self, pods: tuple[observation.PodView, ...]) -> Report | None:
        """What the first pod serves, asked for now and then."""
        stage, own = stages.stage_of(self.job.status), self._own(pods)
        first = next((pod for pod in own if pod.index == 0 and pod.ended is None), None)
        if first is None or first.address is None or self.clock() < self.next_probe:
            return None
        self.next_probe = self.clock() + PROBE_SECONDS
        report = self.probe(first.address, stage.report)
        place = self.job.metadata.uid, self.job.status.attempt, launch_of(self.job.status, own)
        return report if report is not None and report.is_of(*place) else None

    def _own(self, pods: tuple[observation.PodView, ...]) -> list[observation.PodView]:
        """Pods of the present attempt."""
        stage, status = stages.stage_of(self.job.status), self.job.status
        return [pod for pod in pods if pod.component == stage.component and pod.attempt == status.attempt]

    def _words(self, pods: tuple[observation.PodView, ...]) -> observation.HeardWords | None:
        """What the launchers of the present attempt say, asked for again and again."""
        first = next((pod for pod in self._own(pods) if pod.index == 0 and pod.ended is None), None)
        if first is None or first.address is None or stages.stage_of(self.job.status) is not stages.TRAINING:
            self.words = None
        elif self.clock() >= self.next_word:
            self.next_word = self.clock() + WORD_SECONDS
            word = self.listen(first.address)
            if word is not None:
                last, now = self.words, self.now()
                at = last.at if last is not None and last.gang == word else now
                self.words = observation.HeardWords(word, at, answered_at=now)
        return self.words


def _is_over(plan: Plan, pods: tuple[observation.PodView, ...]) -> bool:
    """Whether a job that has ended or rests holds nothing any more."""
    is_final = plan.status.phase in FINAL_PHASES and not plan.actions
    return plan.status.phase == "Suspended" or (is_final and all(pod.ended is not None for pod in pods))
