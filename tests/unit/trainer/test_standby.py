"""Processes that wait for their order: what they run then, and what ends them; real processes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from arcface_trainer.standby import Program, StandbyProcess
from support.waiting import wait_until

MODULE = """
import os, sys
from arcface_trainer import standby
print("imported", flush=True)
print(standby.arguments(), os.environ.get("LAUNCH"), os.environ["KEPT"], flush=True)
"""
CHANGING = frozenset({"LAUNCH"})


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A module that tells when it has been imported, and with what it begins."""
    (tmp_path / "told.py").write_text(MODULE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "LAUNCH": "0", "KEPT": "a"}
    return Program("told", environment, is_logged=True, cores=frozenset({min(os.sched_getaffinity(0))}))


@pytest.fixture
def waiting(program):
    process = StandbyProcess(program)
    yield process
    process.end()


def later(program, **changes):
    return replace(program, environment=program.environment | changes)


def test_a_program_that_is_started_begins_with_its_arguments(program):
    output, _ = program.start(["a b", "2"]).communicate()
    assert output == b"imported\n['a b', '2'] 0 a\n"


def test_one_on_standby_has_imported_before_it_is_told_and_begins_as_if_it_was_started_then(program, waiting):
    assert waiting._process.stdout.readline() == b"imported\n"
    assert os.sched_getaffinity(waiting._process.pid) == program.cores
    process = waiting.begin(later(program, LAUNCH="1"), ["a b", "2"], CHANGING)
    assert process.communicate()[0] == b"['a b', '2'] 1 a\n"
    assert process.returncode == 0


def test_an_order_may_come_before_the_import_is_done(program, waiting):
    process = waiting.begin(later(program, LAUNCH="1"), [], CHANGING)
    assert process.communicate()[0] == b"imported\n[] 1 a\n"


@pytest.mark.parametrize(
    "other",
    [
        lambda program: later(program, KEPT="b"),
        lambda program: later(program, NEW="b"),
        lambda program: replace(program, environment={"KEPT": "a"}),
        lambda program: replace(program, module="other"),
        lambda program: replace(program, cores=frozenset()),
        lambda program: replace(program, is_logged=False),
    ],
    ids=["other variable", "new variable", "variables gone", "other module", "other cores", "other output"],
)
def test_one_that_was_started_for_something_else_is_ended(program, waiting, other):
    assert waiting.begin(other(program), [], CHANGING) is None
    assert waiting._process.poll() == -signal.SIGKILL


def test_one_that_has_died_carries_nothing_out(program, waiting):
    waiting._process.kill()
    waiting._process.wait()
    assert waiting.begin(program, [], CHANGING) is None


def test_one_that_dies_while_it_is_told_carries_nothing_out(program, waiting, monkeypatch):
    waiting._process.kill()
    os.waitid(os.P_PID, waiting._process.pid, os.WEXITED | os.WNOWAIT)
    with monkeypatch.context() as patch:
        patch.setattr(waiting._process, "poll", lambda: None)
        assert waiting.begin(program, [], CHANGING) is None


def test_sigterm_ends_one_that_waits(waiting):
    waiting._process.send_signal(signal.SIGTERM)
    assert waiting._process.wait(10) == -signal.SIGTERM


HOLDER = """
import sys, time, os
from arcface_trainer.standby import Program, StandbyProcess
held = StandbyProcess(Program("told", dict(os.environ), is_logged=True))
print(held._process.pid, flush=True)
time.sleep(600)
"""


def test_none_outlives_its_launcher(program):
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, env=program.environment, stdout=subprocess.PIPE, text=True) as launcher:
        pid = int(launcher.stdout.readline())
        launcher.kill()
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), 10)


def test_one_whose_launcher_closes_its_end_leaves(waiting):
    with waiting._process.stdin:
        pass
    assert waiting._process.wait(10) == 0
