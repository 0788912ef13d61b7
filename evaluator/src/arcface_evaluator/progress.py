"""What an evaluator's pod has with those who watch it: they ask how far it is, and may ask it to stop.

At /progress it is told who is slow and who hangs.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from threading import Thread

from arcface_api.bounded_server import BoundedRequest, BoundedThreads
from arcface_api.contract.reports import EvaluatorReport
from arcface_api.errors import ExitCode
from arcface_api.resource.status import EvaluationProgress

LOG = logging.getLogger(__name__)
PATH = "/progress"


class ImageCount:
    """Images that were hashed, embedded or found embedded so far; replaced as a whole, as another thread reads it."""

    def __init__(self) -> None:
        self.progress = EvaluationProgress(images=0, updated_at=datetime.now(UTC))

    def add(self, number: int) -> None:
        """Some more."""
        self.progress = EvaluationProgress(images=self.progress.images + number, updated_at=datetime.now(UTC))


class _Server(BoundedThreads, TCPServer):
    """No HTTPServer, which has its address looked up: for seconds where no name server answers."""

    allow_reuse_address = True


@contextmanager
def serving(address: str, port: int, report: Callable[[], EvaluatorReport]) -> Iterator[int]:
    """Serve the report while the context lasts; an evaluation goes on where that cannot be done.

    Yields:
        The port, which differs from the one asked for when that is 0; 0 where nothing is served.
    """
    try:
        server = _Server((address, port), _handler(report))
    except OSError as error:
        LOG.warning("progress is not served address=%s:%s reason=%s", address, port, error.strerror)
        yield 0
        return
    thread = Thread(target=server.serve_forever, daemon=True, name="progress")
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """End the process on SIGTERM, whatever the main thread is in: a network may compute for minutes.

    Nothing is left to do then, since all that is found is reported and kept at once.
    """
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    thread = Thread(target=_wait_for_request, args=(ours,), daemon=True, name="stopping")
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(theirs)
        thread.join()
        os.close(ours)


def _wait_for_request(signals: int) -> None:
    """Read the numbers of signals until there are no more; the interpreter writes them as they come."""
    while number := os.read(signals, 1):
        if number[0] == signal.SIGTERM:
            os._exit(ExitCode.STOPPED)


def _handler(report: Callable[[], EvaluatorReport]) -> type[BaseHTTPRequestHandler]:
    """What answers requests."""

    class Handler(BoundedRequest, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The report at its path, nothing elsewhere."""
            if self.path != PATH:
                self.send_error(404)
                return
            content = report().to_json().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """A line per question would drown the log."""

    return Handler
