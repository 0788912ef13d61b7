"""Who is on standby in a pod, when, and who is not; real processes, no training."""

import os
from dataclasses import replace

import pytest

from arcface_trainer import shared_memory
from arcface_trainer.pod.standbys import OWN_BYTES, SHARE, Standbys
from arcface_trainer.standby import Program

MODULE = """
import os
from arcface_trainer import standby
standby.arguments()
print(os.getpid(), os.environ["ARCFACE_LAUNCH"], flush=True)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "told.py").write_text(MODULE)
    variables = {"PYTHONPATH": str(tmp_path), "MS_NODE_ID": "0", "ARCFACE_LAUNCH": "0", "MS_SCHED_HOST": "10.0.0.5"}
    return Program("told", os.environ | variables, is_logged=True)


@pytest.fixture
def standbys(monkeypatch):
    monkeypatch.setattr(shared_memory, "left_bytes", lambda: 2**40)
    pool = Standbys()
    yield pool
    waiting = [one._process for one in pool._waiting.values()]
    pool.close()
    assert all(process.poll() is not None for process in waiting)


def told(process):
    """Process and launch."""
    return tuple(map(int, process.communicate()[0].split()))


def later(program, **changes):
    return replace(program, environment=program.environment | changes)


def test_each_launch_takes_those_that_were_prepared_for_it(program, standbys):
    first, second = program, later(program, MS_NODE_ID="1")
    cold = [standbys.start(one) for one in (first, second)]
    assert [told(process) for process in cold] == [(process.pid, 0) for process in cold]
    standbys.prepare()
    waiting = {one._process.pid for one in standbys._waiting.values()}
    assert len(waiting) == 2
    again = [later(one, ARCFACE_LAUNCH="1", MS_SCHED_HOST="10.0.0.6") for one in (first, second)]
    processes = [standbys.start(one) for one in again]
    assert {process.pid for process in processes} == waiting
    assert [told(process) for process in processes] == [(process.pid, 1) for process in processes]
    assert told(standbys.start(later(first, ARCFACE_LAUNCH="2")))[1] == 2  # nobody waits before the next step


def test_nobody_is_prepared_twice(program, standbys):
    told(standbys.start(program))
    standbys.prepare()
    (waiting,) = standbys._waiting.values()
    standbys.prepare()
    assert list(standbys._waiting.values()) == [waiting]


def test_another_program_begins_anew(program, standbys):
    told(standbys.start(program))
    standbys.prepare()
    (waiting,) = standbys._waiting.values()
    assert told(standbys.start(later(program, OMP_NUM_THREADS="3")))[1] == 0
    assert waiting._process.poll() is not None


@pytest.mark.parametrize(("spare", "are_there"), [(-1, False), (0, True)])
def test_they_take_no_more_than_a_share_of_the_memory_that_is_left(program, standbys, monkeypatch, spare, are_there):
    monkeypatch.setattr(shared_memory, "left_bytes", lambda: int(OWN_BYTES / SHARE) + spare)
    told(standbys.start(program))
    standbys.prepare()
    assert bool(standbys._waiting) is are_there
