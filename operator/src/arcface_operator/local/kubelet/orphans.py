"""Processes of a run that outlived it.

Every process of a pod carries its pod's folder in the environment and hands it on to its children, whatever session
or group they make for themselves. So processes that a killed run left behind are found by looking at /proc, without
files of process numbers that may be stale or name somebody else's process by now.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "ARCFACE_POD_FOLDER"
TICK_SECONDS = 0.05


def end_marked(folder: Path, patience: float, clock: Callable[[], float], wait: Callable[[float], None]) -> int:
    """Wait for the processes of all pods at or below a folder, kill those that remain; the number killed.

    They need no signal to stop: the death of their runner was one.
    """
    deadline = clock() + patience
    while marked(folder) and clock() < deadline:
        wait(TICK_SECONDS)
    killed: set[int] = set()
    while remaining := marked(folder):
        for pid in remaining:
            _kill(pid, folder)
        killed.update(remaining)
        wait(TICK_SECONDS)
    return len(killed)


def marked(folder: Path) -> list[int]:
    """Processes of pods at or below this folder."""
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_marked(entry, folder)
    ]


def _is_marked(process: Path, folder: Path) -> bool:
    """Whether a directory of /proc belongs to such a process; ended ones and other users' do not."""
    try:
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    mark = f"{MARK}={folder}".encode()
    return any(variable == mark or variable.startswith(mark + b"/") for variable in variables)


def _kill(pid: int, folder: Path) -> None:
    """Kill a process unless its number has passed on to another one meanwhile."""
    with _process_handle(pid) as handle:
        if handle is not None and _is_marked(Path("/proc", str(pid)), folder):
            signal.pidfd_send_signal(handle, signal.SIGKILL)


@contextmanager
def _process_handle(pid: int) -> Iterator[int | None]:
    """Handle that keeps meaning this process; None when it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)
