"""Whom the launcher names as standing still, and when; ranks are what they tell, and a process where that matters."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from arcface_trainer.heartbeat import Beat, Phase
from arcface_trainer.pod.watchdog import LONGEST_LOOK, STOP_PATIENCE_SECONDS, Watchdog

LIMIT = 1000.0


class Rank:
    """A rank of whose process nothing is known."""

    def __init__(self, rank=0, phase=Phase.STEP, step=7):
        self.rank, self.is_finished, self.is_asked_to_stop = rank, False, False
        self.process = SimpleNamespace(pid=0)
        self.begun = 0.0
        self.begin(phase, step)

    def begin(self, phase, step=7):
        self.begun += 1.0
        self.told = Beat(phase, step, self.begun)

    def beat(self):
        return self.told


class Clock:
    """A launcher that looks every few seconds."""

    def __init__(self, ranks, limit=LIMIT):
        self.watchdog, self.ranks, self.now = Watchdog(limit), ranks, 50.0

    def look_for(self, seconds, every=4.0):
        """What is found first, and after how long."""
        start = self.now
        while self.now - start < seconds:
            if (stall := self.watchdog.look(self.ranks, self.now)) is not None:
                return stall, self.now - start
            self.now += every
        return None


def test_progress_of_any_kind_begins_the_time_anew():
    rank = Rank()
    clock = Clock([rank])
    for phase in (Phase.CHECKPOINT, Phase.DATA, Phase.STEP, Phase.VERIFICATION):
        assert clock.look_for(0.9 * LIMIT) is None
        rank.begin(phase)
    stall, seconds = clock.look_for(2 * LIMIT)
    assert LIMIT < seconds < LIMIT + 10
    assert stall.message.startswith("rank 0 makes no progress: for 10")
    assert stall.message.endswith(" s verifying, after step 7")


@pytest.mark.parametrize(
    ("others", "culprit", "culprits_step"),
    [
        pytest.param(Phase.STEP, Phase.DATA, 7, id="images that do not come"),
        pytest.param(Phase.STEP, Phase.CHECKPOINT, 7, id="a disk that hangs"),
        pytest.param(Phase.STEP, Phase.VERIFICATION, 7, id="a verification that hangs"),
        pytest.param(Phase.STEP, Phase.STEP, 6, id="a step behind the others"),
    ],
)
def test_the_rank_that_the_others_wait_for_is_named_and_not_they(others, culprit, culprits_step):
    ranks = [Rank(number, others) for number in range(4)]
    ranks[2].begin(culprit, culprits_step)
    stall, _ = Clock(ranks).look_for(2 * LIMIT)
    assert stall.rank is ranks[2]


def test_a_process_that_is_stopped_is_named_with_its_state():
    process = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(1)"])
    try:
        os.kill(process.pid, signal.SIGSTOP)
        ranks = [Rank(0), Rank(1), Rank(2)]
        ranks[1].process = process
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        stall, _ = Clock(ranks).look_for(2 * LIMIT)
        assert stall.rank is ranks[1]
        assert stall.message.endswith(
            "in a step, which waits for the device and for all other ranks, after step 7: its process is stopped"
        )
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("told", [None, Beat(Phase.START, 0, 1.0)], ids=["reads data", "compiles its first step"])
def test_a_rank_that_starts_may_take_as_long_as_it_takes(told):
    rank = Rank()
    rank.told = told
    assert Clock([rank]).look_for(100 * LIMIT) is None


def test_a_rank_that_has_ended_is_not_waited_for():
    rank = Rank()
    rank.is_finished = True
    assert Clock([rank]).look_for(2 * LIMIT) is None


def test_a_pod_that_was_frozen_is_not_taken_for_one_that_stands_still():
    clock = Clock([Rank()])
    assert clock.look_for(0.5 * LIMIT) is None
    clock.now += 100 * LIMIT
    assert clock.look_for(0.5 * LIMIT - LONGEST_LOOK) is None
    assert clock.look_for(LIMIT) is not None


@pytest.mark.parametrize("phase", [None, Phase.DATA, Phase.STEP, Phase.VERIFICATION])
def test_a_rank_that_does_not_heed_a_request_to_stop_is_ended_after_a_while(phase):
    rank = Rank()
    clock = Clock([rank])
    rank.told = None if phase is None else Beat(phase, 7, 1.0)
    assert clock.look_for(0.9 * LIMIT) is None
    rank.is_asked_to_stop = True
    stall, seconds = clock.look_for(LIMIT)
    assert STOP_PATIENCE_SECONDS < seconds < STOP_PATIENCE_SECONDS + 10
    assert "asked to stop" in stall.message


def test_a_rank_that_saves_before_it_stops_has_all_the_time():
    rank = Rank(phase=Phase.CHECKPOINT)
    rank.is_asked_to_stop = True
    assert Clock([rank]).look_for(0.9 * LIMIT) is None
