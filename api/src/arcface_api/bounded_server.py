"""Ports that strangers may ask at: whoever sends nothing, or a byte a second, holds a thread for seconds alone.

What is answered is small, so that no answer waits for its reader, but for those that ask for it by a signature.
"""

import io
import logging
import socket
import time
from functools import cached_property
from socketserver import StreamRequestHandler, ThreadingMixIn
from threading import BoundedSemaphore
from typing import Any

LOG = logging.getLogger(__name__)
MOST_AT_ONCE = 128
"""Connections that are answered; whoever comes then waits in the kernel's queue until one of them is over."""
REQUEST_SECONDS = 10.0
"""For a whole request to come in."""
ANSWER_SECONDS = 30.0
"""For the reader of an answer to take some more of it."""
LEAST_SECONDS = 0.001
"""Patience of a socket, whose 0 means that it has none."""


class BoundedThreads(ThreadingMixIn):
    """A thread for each connection, and no more of them than `MOST_AT_ONCE`."""

    daemon_threads = True

    @cached_property
    def _free(self) -> BoundedSemaphore:
        return BoundedSemaphore(MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, as soon as there may be another one."""
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: object, client_address: object) -> None:
        """Whoever asked has gone, mostly: a line, where the library prints where it was."""
        LOG.info("a question was not answered client=%s", client_address)


class BoundedRequest(StreamRequestHandler):
    """A handler whose request must come in within `REQUEST_SECONDS`: the library's limit begins anew at each byte."""

    def setup(self) -> None:
        """Read from the connection up to the deadline."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_InTime(self.connection))


class _InTime(io.RawIOBase):
    """What comes in up to a deadline; TimeoutError after it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.until = time.monotonic() + REQUEST_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.connection.settimeout(max(LEAST_SECONDS, self.until - time.monotonic()))
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(ANSWER_SECONDS)
