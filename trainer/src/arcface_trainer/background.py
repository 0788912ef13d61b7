"""Work in threads that do not keep a process from ending: a disk may hang, a peer may be dead."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Value = TypeVar("Value")


def in_background(work: Callable[[], Value], name: str) -> "Future[Value]":
    """Begin work in a thread of this name; what it raises is raised where its result is asked for."""
    future: Future[Value] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    Thread(target=run, daemon=True, name=name).start()
    return future
