"""Keeps a gang of pods going until it is done, hopeless or asked to stop: what the operator is in a cluster."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from arcface_api.errors import NEVER_RETRIED
from arcface_api.resource.status import Progress
from arcface_operator.local.decision import WAIT, Action, Decision, Limits, Seen, decide, settle
from arcface_operator.local.kubelet.kubelet import Kubelet, PodProcess
from arcface_operator.local.progress import StepWatch, View
from arcface_operator.manifests.metadata import Manifest

TICK_SECONDS = 0.1
PROBE_SECONDS = 0.5
LAST_RESORT_SECONDS = 10.0
"""Beyond the grace period, after which a shim has failed to do its work."""
Probe = Callable[[str], Progress | None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts requests; the first asks to save and stop, the second to stop at once."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, _number: int, _frame: object) -> None:
        """Signal handler; it only counts, since it may interrupt anything."""
        self.count += 1


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


@dataclass(frozen=True)
class Outcome:
    """How a gang ended."""

    decision: Decision
    pods: list[PodProcess]
    culprit: PodProcess | None
    """The pod that failed first, before any other was stopped."""


class Supervisor:
    """Starts, watches, restarts and ends gangs of pods."""

    def __init__(
        self,
        kubelet: Kubelet,
        view: View,
        stop: StopRequests,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.kubelet = kubelet
        self.view = view
        self.stop = stop
        self.clock = clock
        self.wait = wait
        self.began = clock()

    def run(self, build: Callable[[int], list[Manifest]], limits: Limits, probe: Probe) -> Outcome:
        """Run a gang to its end.

        Args:
            build: the pods of an attempt.
            limits: bounds on time and retries.
            probe: asks the first pod for its progress.
        """
        attempt = 0
        while True:
            outcome = self.attempt(build(attempt), attempt, limits, probe)
            if outcome.decision.action is not Action.RETRY:
                return outcome
            culprit = "" if outcome.culprit is None else f"pod {outcome.culprit.name}, log {outcome.culprit.log}: "
            self.view.note(f"{culprit}{outcome.decision.reason}")
            attempt += 1

    def attempt(self, pods: list[Manifest], attempt: int, limits: Limits, probe: Probe) -> Outcome:
        """Start the pods and stay until every process of theirs has ended."""
        gang = self.kubelet.start(pods, attempt)
        try:
            decision = self.watch(gang, attempt, limits, probe)
            first = _first_failed(gang)
        finally:
            self.end(gang)
        decision = settle(decision, _exit_codes(gang))
        return Outcome(decision, gang, _culprit_of(gang, decision, first))

    def watch(self, gang: list[PodProcess], restarts: int, limits: Limits, probe: Probe) -> Decision:
        """Look at the gang until something is to be done."""
        started = next_probe = self.clock()
        steps = StepWatch()
        decision = WAIT
        while decision.action is Action.WAIT:
            now = self.clock()
            if now >= next_probe:
                next_probe = now + PROBE_SECONDS
                if progress := probe(gang[0].address):
                    steps.see(progress, now)
                    self.view.progress(progress)
            seen = Seen(
                exit_codes=_exit_codes(gang),
                restarts=restarts,
                active_seconds=now - self.began,
                attempt_seconds=now - started,
                idle_seconds=steps.idle_seconds(now),
                is_stop_requested=self.stop.count > 0,
            )
            decision = decide(seen, limits)
            if decision.action is Action.WAIT:
                self.wait(TICK_SECONDS)
        return decision

    def end(self, gang: list[PodProcess]) -> None:
        """Stop what still runs, giving it the time to save; a second request to stop takes that time away."""
        running = [pod for pod in gang if pod.exit_code() is None]
        for pod in running:
            pod.stop()
        if running and self.stop.count:
            self.view.note("stopping; the ranks save their state (a second Ctrl-C kills them)")
        self.await_end(running)
        self.kubelet.clear(patience=0.0)

    def await_end(self, running: list[PodProcess]) -> None:
        """Wait for pods that were asked to stop."""
        deadline = self.clock() + max((pod.grace_seconds for pod in running), default=0.0) + LAST_RESORT_SECONDS
        is_killed = False
        while any(pod.exit_code() is None for pod in running):
            if self.stop.count > 1 and not is_killed:
                is_killed = True
                for pod in running:
                    pod.kill()
            if self.clock() > deadline:
                self.kubelet.clear(patience=0.0)
            self.wait(TICK_SECONDS)


def _exit_codes(gang: list[PodProcess]) -> tuple[int | None, ...]:
    """Exit codes in the order of the pods."""
    return tuple(pod.exit_code() for pod in gang)


def _first_failed(gang: list[PodProcess]) -> PodProcess | None:
    """A pod that failed by itself."""
    return next((pod for pod in gang if pod.exit_code()), None)


def _culprit_of(gang: list[PodProcess], decision: Decision, first: PodProcess | None) -> PodProcess | None:
    """The pod to quote: whose exit code decided, else the one that failed first."""
    if decision.exit_code not in NEVER_RETRIED:
        return first
    return next((pod for pod in gang if pod.exit_code() == decision.exit_code), first)
