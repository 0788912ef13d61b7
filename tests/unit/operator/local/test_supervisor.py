"""Gangs of real processes from start to end."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from arcface_api.resource.status import Progress
from arcface_operator.local.decision import Action, Limits
from arcface_operator.local.kubelet.directories import locked_workdir
from arcface_operator.local.kubelet.kubelet import Kubelet, PodProcess
from arcface_operator.local.kubelet.orphans import marked
from arcface_operator.local.supervisor import Outcome, StopRequests, Supervisor, stop_requests
from support.builders.pods import make_pod
from support.waiting import wait_until

SLEEP = "import signal; signal.pause()"
SAVE_ON_SIGTERM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open("ready", "w")
while True:
    signal.pause()
"""
IGNORE_SIGTERM = SAVE_ON_SIGTERM.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN")
FAIL_WHEN_STOPPED = SAVE_ON_SIGTERM.replace("143", "2")


NO_RETRIES = Limits(backoff_limit=0)


class Notes:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[int] = []

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress.step)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Bench:
    """A supervisor with what it works with."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.view = Notes()
        self.stop = StopRequests()
        self.supervisor = Supervisor(kubelet, self.view, self.stop)
        self.steps: list[int] = []

    def run(self, *scripts: str, limits: Limits = NO_RETRIES, grace: float = 600) -> Outcome:
        pods = [
            make_pod(f"p{index}", script, terminationGracePeriodSeconds=grace) for index, script in enumerate(scripts)
        ]
        return self.supervisor.run(lambda _: pods, limits, self.probe)

    def probe(self, _address: str) -> Progress | None:
        return progress(self.steps.pop(0)) if self.steps else None

    def is_ready(self, pod: str) -> bool:
        return (self.kubelet.folder(pod) / "ready").exists()

    def let_time_pass_by_waiting(self) -> None:
        """Until the gang is stopped a wait takes as long as it is asked to, whatever else the machine does."""
        now = 0.0

        def wait(seconds: float) -> None:
            nonlocal now
            now += seconds

        self.supervisor.clock, self.supervisor.wait = lambda: now, wait
        end = self.supervisor.end

        def end_in_real_time(gang: list[PodProcess]) -> None:
            self.supervisor.clock, self.supervisor.wait = time.monotonic, time.sleep
            end(gang)

        self.supervisor.end = end_in_real_time  # type: ignore[method-assign]

    def stop_when_ready(self, times: int) -> None:
        """Let requests to stop come in as signals would: between two looks at the gang."""

        def wait(_seconds: float) -> None:
            wait_until(lambda: self.is_ready("p0"))
            self.stop.count = min(times, self.stop.count + 1)

        self.supervisor.wait = wait


def progress(step: int) -> Progress:
    return Progress(epoch=0, step=step, total_steps=10, updated_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with locked_workdir(tmp_path) as workdir:
        bench = Bench(Kubelet(workdir, {}, {}))
        yield bench
        assert marked(workdir.pods) == []


def test_a_gang_is_done_when_all_its_pods_are(bench: Bench) -> None:
    outcome = bench.run("", "import time; time.sleep(0.3)")
    assert outcome.decision.action is Action.DONE
    assert [pod.exit_code() for pod in outcome.pods] == [0, 0]
    assert bench.view.notes == []


def test_a_pod_that_fails_takes_the_gang_down_and_is_named(bench: Bench) -> None:
    outcome = bench.run(SLEEP, "import sys; sys.exit(7)")
    assert outcome.decision.action is Action.FAIL
    assert outcome.decision.exit_code == 1
    assert outcome.culprit is outcome.pods[1]
    assert outcome.pods[0].exit_code() == 143


def test_a_gang_is_restarted_until_the_limit(bench: Bench) -> None:
    outcome = bench.run("import sys; sys.exit(1)", limits=Limits(backoff_limit=2))
    assert outcome.decision.reason == "a pod ended with exit code 1, and backoffLimit 2 is used up"
    logs = bench.kubelet.workdir.logs
    assert sorted(path.name for path in logs.iterdir()) == ["p0-0.log", "p0-1.log", "p0-2.log"]
    assert bench.view.notes == [
        f"pod p0, log {logs}/p0-{attempt}.log: a pod ended with exit code 1; restart {attempt + 1} of 2"
        for attempt in (0, 1)
    ]


def test_a_gang_that_recovers_is_done(bench: Bench, tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    once = f"import pathlib, sys; p = pathlib.Path({seen!r}); sys.exit(0 if p.exists() else p.touch() or 1)"
    assert bench.run(once, limits=Limits(backoff_limit=1)).decision.action is Action.DONE


@pytest.mark.parametrize("code", [2, 3])
def test_final_exit_codes_are_not_retried(bench: Bench, code: int) -> None:
    outcome = bench.run(f"import sys; sys.exit({code})", SLEEP, limits=Limits(backoff_limit=5))
    assert outcome.decision.action is Action.FAIL
    assert outcome.decision.exit_code == code
    assert bench.view.notes == []


def test_a_peer_that_reports_bad_input_while_it_is_stopped_is_the_culprit(bench: Bench, tmp_path: Path) -> None:
    ready = tmp_path / "pods" / "p1" / "ready"
    victim = f"import os, sys\nwhile not os.path.exists({str(ready)!r}): pass\nsys.exit(1)"
    outcome = bench.run(victim, FAIL_WHEN_STOPPED, limits=Limits(backoff_limit=5))
    assert outcome.decision.exit_code == 2
    assert outcome.culprit is outcome.pods[1]


def test_a_gang_that_does_not_begin_is_given_up(bench: Bench) -> None:
    outcome = bench.run(SLEEP, limits=Limits(backoff_limit=0, startup_seconds=0.2))
    assert outcome.decision.reason.startswith("training has not begun after startupDeadlineSeconds 0.2")
    assert outcome.culprit is None


def test_a_gang_without_new_steps_is_given_up(bench: Bench) -> None:
    bench.let_time_pass_by_waiting()
    bench.steps = [1, 2, 2, 2, 2, 2, 2, 2]
    outcome = bench.run(SLEEP, limits=Limits(backoff_limit=0, startup_seconds=0.1, stall_seconds=0.7))
    assert outcome.decision.reason.startswith("no new step for stallSeconds 0.7")
    assert bench.view.steps == [1, 2, 2]


def test_the_time_for_the_whole_run_is_bounded(bench: Bench) -> None:
    outcome = bench.run(SLEEP, limits=Limits(backoff_limit=5, active_seconds=0.2))
    assert outcome.decision.action is Action.FAIL
    assert outcome.decision.reason == "not done after activeDeadlineSeconds 0.2"


def test_a_request_to_stop_lets_the_pods_save(bench: Bench) -> None:
    bench.stop_when_ready(times=1)
    outcome = bench.run(SAVE_ON_SIGTERM, grace=600, limits=Limits(backoff_limit=5))
    assert outcome.decision.action is Action.STOP
    assert outcome.pods[0].exit_code() == 143
    assert bench.view.notes == ["stopping; the ranks save their state (a second Ctrl-C kills them)"]


def test_a_second_request_kills_the_pods(bench: Bench) -> None:
    bench.stop_when_ready(times=2)
    outcome = bench.run(IGNORE_SIGTERM, grace=600)
    assert outcome.decision.action is Action.STOP
    assert outcome.pods[0].exit_code() == 137


def test_pods_do_not_outlive_an_error_of_the_runner(bench: Bench) -> None:
    class BrokenError(Exception):
        pass

    def probe(_address: str) -> None:
        raise BrokenError

    with pytest.raises(BrokenError):
        bench.supervisor.run(lambda _: [make_pod("p0", SLEEP)], Limits(backoff_limit=0), probe)
    assert marked(bench.kubelet.workdir.pods) == []


def test_signals_are_counted_and_handlers_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: requests.count == 2)
    assert signal.getsignal(signal.SIGTERM) is before
