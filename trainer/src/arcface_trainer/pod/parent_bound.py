"""Runs a module in a process that dies with its parent: `python -m arcface_trainer.pod.parent_bound MODULE ARGS...`.

A launcher that is killed outright cannot end its ranks; Linux does (prctl PR_SET_PDEATHSIG).
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind to the parent, then run the module as the main program."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before
        sys.exit(1)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
