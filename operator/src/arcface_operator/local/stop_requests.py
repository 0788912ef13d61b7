"""Requests to stop: Ctrl-C, SIGTERM, a closed terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts requests; the first asks to save and stop, the second to stop at once."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler; it only counts, since it may interrupt anything."""
        self.count += 1


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
