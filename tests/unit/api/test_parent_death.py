import signal
import subprocess
import sys
from pathlib import Path

from support.waiting import wait_until

PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "arcface_api.parent_death", str(os.getpid()), "endless"])
child.wait()
"""
ENDLESS = """
import os, pathlib, time
pathlib.Path("started").write_text(str(os.getpid()))
time.sleep(600)
"""


def is_running(process: str) -> bool:
    """Whether a process is there and no zombie, which has no command line."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):  # before the file was opened, and after
        return False


def number_of_a_dead_process() -> int:
    """Not 1, which is what the tests themselves are as the first process of a container."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    return dead.pid


def test_a_child_of_a_killed_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path)
    started = tmp_path / "started"
    wait_until(lambda: started.exists() and started.read_text() != "", seconds=30)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(started.read_text()), seconds=30)


def test_a_child_whose_parent_has_died_already_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    command = [sys.executable, "-m", "arcface_api.parent_death", str(number_of_a_dead_process()), "endless"]
    child = subprocess.run(command, cwd=tmp_path, check=False, timeout=30)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "started").exists()
