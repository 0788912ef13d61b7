"""Clients that send nothing, or a byte now and then, and what they must not do to a server."""

import http.client
import socket
from contextlib import ExitStack

import pytest

from arcface_api import bounded_server
from support.waiting import wait_until

MOST = 2
SECONDS = 0.3


def assert_slow_ones_hold_nothing(monkeypatch: pytest.MonkeyPatch, address: str, port: int) -> None:
    """More of them than are answered at once are given up, although one goes on, and somebody else is answered."""
    monkeypatch.setattr(bounded_server, "REQUEST_SECONDS", SECONDS)
    monkeypatch.setattr(bounded_server, "MOST_AT_ONCE", MOST)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((address, port))) for _ in range(2 * MOST)]
        connection = http.client.HTTPConnection(address, port, timeout=60)
        connection.request("GET", "/nowhere")
        wait_until(lambda: is_given_up(slow[0], b"G"))
        assert connection.getresponse().status == http.client.NOT_FOUND
        connection.close()
        for each in slow[1:]:
            wait_until(lambda each=each: is_given_up(each))


def is_given_up(connection: socket.socket, more: bytes = b"") -> bool:
    """Whether the server has ended a connection, on which some more is sent."""
    try:
        connection.send(more)
        return not connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
