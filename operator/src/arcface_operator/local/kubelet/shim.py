"""Parent of a pod's process: ends it with its children when asked, and when whoever started it dies.

Run as `python -m arcface_operator.local.kubelet.shim PARENT GRACE COMMAND...`. SIGTERM asks the command to stop and
kills it after GRACE seconds; SIGUSR1 kills it at once; the death of PARENT counts as SIGTERM. Nothing in the
command's process group outlives it, as nothing of a container outlives its first process. A process of its own,
because a death signal must be set between fork and exec, which is not safe in the runner with its threads.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial

from arcface_api.parent_death import follow_parent

NOT_STARTED = 127
BY_SIGNAL = 128
PASSED_ON = {signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1}


def _main(arguments: list[str]) -> int:
    """Run the command; exit status as a shell gives it."""
    parent, grace, *command = arguments
    # Held back until there is a child to pass them on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    follow_parent(int(parent), signal.SIGTERM)
    own = os.getpid()
    try:
        child = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=partial(_before_command, own),  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_STARTED
    code = _wait(child, float(grace))
    _end_group(child.pid)
    return code if code >= 0 else BY_SIGNAL - code


def _before_command(shim: int) -> None:
    """Set up the command's process: signals as usual, and death with its shim."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    follow_parent(shim, signal.SIGKILL)


def _wait(child: "subprocess.Popen[bytes]", grace: float) -> int:
    """Exit code of the child, passing signals on meanwhile."""

    def stop(_number: int, _frame: object) -> None:
        os.kill(child.pid, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, grace)

    def kill(_number: int, _frame: object) -> None:
        _end_group(child.pid)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGUSR1, kill)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = child.wait()
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN)
    return code


def _end_group(leader: int) -> None:
    """Kill what is left of the child's process group."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
