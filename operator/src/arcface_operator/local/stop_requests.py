"""Requests to stop a run, by Ctrl-C or a signal: the first asks to save and stop, the second to stop at once."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from arcface_api.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts requests."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, _number: int, _frame: object) -> None:
        """Signal handler; it only counts, since it may interrupt anything."""
        self.count += 1

    def wait_before_start(self, seconds: float) -> None:
        """Wait while nothing of the run is there that would have to save.

        Raises:
            Stopped: where a request has come.
        """
        if self.count:
            raise Stopped("stopped before anything was started; the same command starts it")
        time.sleep(seconds)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Requests that come while the context lasts."""
    requests = StopRequests()
    before = {number: signal.signal(number, requests.take) for number in SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
