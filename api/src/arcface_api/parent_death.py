"""Processes that die with their parent: one that is killed outright cannot end its children; Linux does.

`python -m arcface_api.parent_death PARENT MODULE ARGS...` runs a module as the main program of such a process, bound
before the module's own imports, which may take seconds.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def follow_parent(parent: int, death_signal: signal.Signals) -> None:
    """Get this signal when the parent (its process id) dies, also when it has died already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), death_signal)


def _main() -> None:
    follow_parent(int(sys.argv[1]), signal.SIGKILL)
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
