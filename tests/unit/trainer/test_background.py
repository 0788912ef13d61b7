"""Work in threads that do not keep a process from ending."""

import subprocess
import sys

import pytest

from arcface_trainer.background import in_background


def test_the_result_is_what_the_work_returns():
    assert in_background(lambda: 7, "seven").result(timeout=60) == 7


def test_what_the_work_raises_is_raised_where_its_result_is_asked_for():
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 / 0, "broken").result(timeout=60)


def test_work_that_hangs_does_not_keep_a_process_from_ending():
    program = "from threading import Event; from arcface_trainer.background import in_background; "
    command = [sys.executable, "-c", program + "in_background(Event().wait, 'hanging')"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
