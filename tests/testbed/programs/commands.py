"""Runs small administration commands; what fails, fails in one line that names the command."""

import subprocess
from collections.abc import Sequence


class TestbedError(RuntimeError):
    """The machine lacks what the real node needs, or one of its parts did not start."""

    __test__ = False  # pytest would take the name for a test class


def run(command: Sequence[str], stdin: str | None = None) -> str:
    """Standard output of a command; TestbedError if it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise TestbedError(f"{' '.join(command)}: exit {done.returncode}: {said}")
    return done.stdout


def tied_to_us(command: Sequence[str]) -> list[str]:
    """The command, killed by Linux when the thread that starts it ends, so that a crashed test leaves no process."""
    return ["setpriv", "--pdeathsig", "KILL", *command]
