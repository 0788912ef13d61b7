"""Processes that work for this one: they end with it, and hear of no signal that a terminal or `timeout` sends to all.

They are started within `uninterrupted` and begin with `work_for`; a pool of them is used within `stopped_once`.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

from arcface_api.parent_death import follow_parent

SIGNALS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Start processes that hear of no signal; one that comes meanwhile is raised behind it.

    Processes inherit what is blocked. That it is blocked here holds for this thread: another one may take a signal,
    and it would be raised between a process and what the process is told.
    """
    came: list[int] = []
    resource_tracker.ensure_running()  # else it is started in between, and has signals heard again
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in SIGNALS}
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for each, handler in before.items():
            signal.signal(each, handler)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def stopped_once() -> Iterator[None]:
    """The first signal ends what goes on; those behind it are ignored until a pool's processes have ended.

    One that interrupted that would leave this process waiting for processes that nobody has told to end.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        handlers[number](number, frame)

    handlers = {each: handler for each in SIGNALS if callable(handler := signal.getsignal(each))}
    for each in handlers:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def work_for(parent: int) -> None:
    """In such a process: leave the group of the parent (its process id), which alone may end it from now on."""
    follow_parent(parent, signal.SIGKILL)
    os.setpgid(0, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # forgets one that has come to the group meanwhile
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
