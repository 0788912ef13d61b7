"""What a pod says of ranks that end in one way or another; real processes, no training."""

import re
import subprocess
import sys
from collections import deque
from dataclasses import replace
from threading import Thread

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure, Standstill, TrainerReport
from arcface_trainer.heartbeat import SUFFIX, Heartbeat, Phase
from arcface_trainer.pod import launcher
from arcface_trainer.pod.launcher import LEAVE_SECONDS, _wait
from arcface_trainer.pod.launches import Launches
from arcface_trainer.pod.processes import RankProcess, SchedulerProcess
from arcface_trainer.pod.watchdog import Watchdog

INVALID = ReportedFailure(reason="InvalidInput", message="data.path: no such folder", rank=0, exit_code=2)


def wait(ranks, scheduler=None, leave_seconds=LEAVE_SECONDS, limit=float("inf")):
    return _wait(ranks, Watchdog(limit), scheduler, leave_seconds=leave_seconds)


@pytest.fixture
def rank(tmp_path):
    def start(code: str, report: TrainerReport | None = None, number: int = 0) -> RankProcess:
        path = tmp_path / f"rank-{number}.json"
        if report is not None:
            path.write_text(report.to_json())
        reader = Thread(target=lambda: None)
        reader.start()
        return RankProcess(number, subprocess.Popen([sys.executable, "-c", code]), path, deque(["last line"]), reader)

    return start


def test_a_rank_that_dies_after_its_report_has_done_its_work(rank):
    report, status = wait([rank("import os; os.abort()", TrainerReport())])
    assert status == 0
    assert report.failure is None


def test_a_pod_tells_rank_0s_warnings_and_the_most_images_skipped_by_a_rank(rank):
    first = rank("", TrainerReport(warnings=["odd"], skipped_images=1))
    second = rank("", TrainerReport(skipped_images=4), number=1)
    report, status = wait([first, second])
    assert (status, report.warnings, report.skipped_images) == (0, ["odd"], 4)


def test_a_reported_failure_keeps_its_code_and_brings_the_log(rank):
    report, status = wait([rank("raise SystemExit(2)", TrainerReport(failure=INVALID))])
    assert status == 2
    assert report.failure == INVALID.model_copy(update={"log": ["last line"]})


def test_a_failure_is_told_before_mindspores_teardown_is_through(rank):
    hanging = rank("import time\nwhile True: time.sleep(1)", TrainerReport(failure=INVALID))
    report, status = wait([hanging])
    assert (status, report.failure.reason) == (2, "InvalidInput")
    assert hanging.process.poll() is not None


def test_a_killed_rank_is_told_by_its_signal(rank):
    report, status = wait([rank("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")])
    assert status == 137
    assert (report.failure.reason, report.failure.message) == ("RankDied", "rank 0 died with signal SIGKILL")


def test_the_first_failing_rank_ends_the_others(rank, tmp_path):
    endless = rank("import time\nwhile True: time.sleep(1)")
    endless.report_path = tmp_path / "none.json"
    _, status = wait([endless, rank("raise SystemExit(5)")])
    assert status == 5
    assert endless.process.poll() is not None


ENDLESS = "import time\nwhile True: time.sleep(1)"


def test_a_rank_that_hangs_after_its_report_has_done_its_work(rank):
    hanging = rank(ENDLESS, TrainerReport())
    report, status = wait([hanging, rank("", TrainerReport(), number=1)], leave_seconds=0.2)
    assert (status, report.failure) == (0, None)
    assert hanging.process.poll() is not None


def test_a_rank_that_the_others_have_left_behind_is_a_failure_worth_a_retry(rank):
    behind = rank(ENDLESS, number=1)
    report, status = wait([rank("", TrainerReport()), behind], leave_seconds=0.2)
    assert status == 1
    assert report.failure.message == "rank 1 did not end within 0.2 s of the first rank"
    assert behind.process.poll() is not None


def test_a_rank_that_is_stopped_before_it_joined_has_nothing_to_save(rank, tmp_path):
    waiting, joined = rank(ENDLESS), rank(ENDLESS, number=1)
    for one in (waiting, joined):
        one.report_path = tmp_path / "none.json"
    waiting.stop()
    report, status = wait([joined, waiting])
    assert status == 143
    assert (report.failure.reason, report.failure.exit_code) == ("Stopped", 143)
    assert joined.process.poll() is not None, "it would wait for the other for ever"


def test_ranks_that_the_operator_calls_anew_are_ended_and_the_pod_goes_on(rank):
    ranks = [rank(ENDLESS), rank(ENDLESS, number=1)]
    for one in ranks:
        one.report_path = one.report_path.with_name("none.json")
    calls = iter([False, False, True])
    assert _wait(ranks, Watchdog(float("inf")), None, lambda: next(calls)) is None
    assert [one.process.poll() for one in ranks] == [-9, -9]


def test_a_ranks_start_is_over_with_its_first_step(rank):
    one = rank("", TrainerReport())
    one.process.wait()
    assert not one.has_stepped
    heartbeat = Heartbeat(one.report_path.with_suffix(SUFFIX))
    heartbeat.enter(Phase.START, 7)
    assert not one.has_stepped
    heartbeat.enter(Phase.DATA, 8)
    assert one.has_stepped


GRACE_SECONDS = 2.0


@pytest.fixture
def scheduler():
    """Starts a process in the place of MindSpore's scheduler."""
    started = []

    def start(code: str) -> SchedulerProcess:
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return SchedulerProcess(started[-1], grace_seconds=GRACE_SECONDS)

    yield start
    for process in started:
        process.wait()


def test_ranks_do_not_wait_for_a_scheduler_that_has_ended(rank, scheduler, tmp_path):
    """As when its port is in use: MindSpore's ranks wait for it for as long as they may, a day."""
    waiting = rank(ENDLESS)
    waiting.report_path = tmp_path / "none.json"
    report, status = wait([waiting], scheduler("raise SystemExit(1)"))
    assert (status, report.failure.reason) == (1, "RankDied")
    assert report.failure.message == (
        "MindSpore's scheduler ended with exit code 1 before its ranks: is its port in use?"
    )
    assert waiting.process.poll() is not None


def test_what_a_rank_says_of_its_end_counts_before_the_schedulers(rank, scheduler):
    report, status = wait([rank("raise SystemExit(5)")], scheduler(""))
    assert (status, report.failure.message) == (5, "rank 0 died with exit code 5")


def test_a_scheduler_may_leave_before_the_processes_of_ranks_that_are_done(rank, scheduler):
    gone = SchedulerProcess(scheduler("").process, grace_seconds=0.0)
    gone.process.wait()
    hanging, other = rank(ENDLESS, TrainerReport()), rank("", TrainerReport(), number=1)
    assert wait([hanging, other], gone, leave_seconds=0.2)[1] == 0


def test_a_rank_that_others_end_by_sigterm_died(rank):
    """MindSpore ends the peers of a dead rank so."""
    report, status = wait([rank("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")])
    assert status == 143
    assert report.failure.message == "rank 0 died with signal SIGTERM"


def test_a_rank_that_gets_nowhere_is_named_with_what_it_does_and_worth_a_retry(rank, tmp_path):
    hanging, peer = rank(ENDLESS), rank(ENDLESS, number=1)
    for one, phase in ((hanging, Phase.DATA), (peer, Phase.STEP)):
        one.report_path = tmp_path / f"{one.rank}.json"
        Heartbeat(one.report_path.with_suffix(SUFFIX)).enter(phase, 7)
    report, status = wait([peer, hanging], limit=0.3)
    assert (status, report.failure.reason, report.failure.rank) == (1, "Stalled", 0)
    assert re.fullmatch(
        r"rank 0 makes no progress: for \d s waiting for images, after step 7", report.failure.message
    ), report.failure.message
    assert report.failure.standstill == Standstill(is_held=False, step=7, is_in_step=False)
    assert hanging.process.poll() is not None
    assert peer.process.poll() is not None


@pytest.mark.parametrize(
    ("phase", "seconds", "remark"),
    [
        pytest.param(
            Phase.DATA, 0.5, r"; rank 1 was behind it: for \d s waiting for images, after step 7", id="behind"
        ),
        pytest.param(Phase.STEP, 0.5, "", id="in the same step"),
        pytest.param(Phase.DATA, 60.0, "", id="for a moment only"),
    ],
)
def test_a_rank_that_dies_waiting_tells_of_the_one_that_kept_it_waiting(rank, tmp_path, phase, seconds, remark):
    """As when HCCL's patience with a silent peer ends before the launcher's."""
    dying, peer = rank(ENDLESS), rank(ENDLESS, number=1)
    for one, doing in ((dying, Phase.STEP), (peer, phase)):
        one.report_path = tmp_path / f"{one.rank}.json"
        Heartbeat(one.report_path.with_suffix(SUFFIX)).enter(doing, 7)
    watchdog = Watchdog(2 * seconds)
    for at in (100.0, 100.3, 100.6):
        assert watchdog.look([dying, peer], at) is None
    dying.process.kill()
    dying.process.wait()
    report, status = _wait([dying, peer], watchdog)
    assert status == 137
    assert re.fullmatch("rank 0 died with signal SIGKILL" + remark, report.failure.message), report.failure.message


@pytest.fixture
def unkillable(rank, monkeypatch):
    """Starts ranks that stay when they are killed, as one does whose process waits in the driver of a dead card."""
    started = []

    def start(*arguments, **options) -> RankProcess:
        one = rank(ENDLESS, *arguments, **options)
        started.append((one.process, one.process.kill))
        one.process.kill = lambda: None
        return one

    monkeypatch.setattr(launcher, "GRACE_SECONDS", 0.2)
    yield start
    for process, kill in started:
        kill()
        process.wait()


def test_a_rank_that_no_kill_ends_is_told_and_its_peers_end(rank, unkillable, tmp_path):
    stuck, peer = unkillable(), rank(ENDLESS, number=1)
    for one, phase in ((stuck, Phase.DATA), (peer, Phase.STEP)):
        one.report_path = tmp_path / f"{one.rank}.json"
        Heartbeat(one.report_path.with_suffix(SUFFIX)).enter(phase, 7)
    report, status = wait([stuck, peer], limit=0.3)
    assert (status, report.failure.reason, report.failure.rank) == (1, "Stalled", 0)
    assert peer.process.poll() is not None


@pytest.mark.parametrize(("report", "code"), [(TrainerReport(), 0), (TrainerReport(failure=INVALID), 2)])
def test_a_rank_that_no_kill_ends_after_its_report_has_done_its_work(rank, unkillable, report, code):
    found, status = wait([unkillable(report), rank("", TrainerReport(), number=1)], leave_seconds=0.2)
    assert status == code
    assert (found.failure is None) == (code == 0)


def test_the_report_of_a_pod_tells_the_launch_that_its_ranks_were_of():
    """A launcher that has not heard of the next one ends with what has been counted already."""
    failed = TrainerReport(failure=INVALID)

    class Pod(launcher._Pod):
        def launch(self, _launches):
            return failed, 1

        def is_launched_again(self, launches, _report):
            launches.identity = replace(launches.identity, launch=launches.identity.launch + 1)
            return launches.identity.launch < 3

        def meet(self, _launches):
            pass

    left = []
    pod = Pod(*[None] * 6, tell=left.append)
    assert pod.launch_until_the_end(Launches(RankIdentity(job_uid="uid-1", attempt=4), None)) == 1
    (report,) = left
    assert (report.job_uid, report.attempt, report.launch, report.failure) == ("uid-1", 4, 3, INVALID)
