"""Signals are counted, and heeded at once while nothing of the run is there."""

import os
import signal

import pytest

from arcface_api.errors import Stopped
from arcface_operator.local.reconciler import SIGNALS, StopRequests, stop_requests
from support.waiting import wait_until


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_counted_and_handlers_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as requests:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: requests.count == 2)
    assert signal.getsignal(number) is before


def test_nothing_is_waited_for_after_a_request() -> None:
    requests = StopRequests()
    requests.wait_before_start(0.0)
    requests.count = 1
    with pytest.raises(Stopped, match="before anything was started"):
        requests.wait_before_start(600.0)
