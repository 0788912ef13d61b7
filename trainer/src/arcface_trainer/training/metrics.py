"""Prometheus metrics of a rank and the small server that shows them, with rank 0's report at /progress."""

import errno
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from arcface_api.contract.reports import TrainerReport
from arcface_api.errors import ArcFaceError
from arcface_api.resource.status import Verification

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STEP_BUCKETS = (0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 10.0, 30.0)
"""Seconds."""


class RankGauge:
    """A gauge that is absent until it is set: a loss of 0 before the first step would be a wrong number."""

    def __init__(self, gauge: Gauge, rank: str) -> None:
        self.gauge = gauge
        self.rank = rank

    def set(self, value: float) -> None:
        """Show a value from now on."""
        self.gauge.labels(self.rank).set(value)


class TrainMetrics:
    """The metrics of DESIGN section 4 for one rank."""

    def __init__(self, rank: int) -> None:
        self.registry = CollectorRegistry()
        self._rank = str(rank)
        self.loss = self._gauge("arcface_train_loss", "Mean loss over the images of all ranks, last step.")
        self.step_seconds = Histogram(
            "arcface_train_step_seconds",
            "Time of a training step.",
            ["rank"],
            buckets=STEP_BUCKETS,
            registry=self.registry,
        ).labels(self._rank)
        self.images = self._counter("arcface_train_images_total", "Images this rank has trained on.")
        self.images_per_second = self._gauge("arcface_train_images_per_second", "Images of this rank per second.")
        self.step = self._gauge("arcface_train_step", "Updates made.")
        self.epoch = self._gauge("arcface_train_epoch", "Epochs completed.")
        self.learning_rate = self._gauge("arcface_train_learning_rate", "Learning rate of the last update.")
        self.data_wait = self._counter("arcface_train_data_wait_seconds_total", "Time spent waiting for images.")
        self.checkpoint_seconds = self._gauge("arcface_train_checkpoint_seconds", "Time the last checkpoint took.")
        self.checkpoint_step = self._gauge("arcface_train_checkpoint_step", "Updates in the newest checkpoint.")
        self.loss_scale = self._gauge("arcface_train_loss_scale", "Factor on the loss before differentiation.")
        self.skipped_steps = self._counter(
            "arcface_train_skipped_steps_total", "Steps left out since loss or gradient were not finite."
        )
        self.embedding_norm = self._gauge("arcface_train_embedding_norm", "Mean length of the embeddings, last step.")
        self.verification_accuracy = Gauge(
            "arcface_train_verification_accuracy",
            "Accuracy on a pair set in the last verification during the training.",
            ["rank", "dataset"],
            registry=self.registry,
        )
        self.verification_seconds = self._gauge("arcface_train_verification_seconds", "Time the last one took.")
        self.loss_scale.set(1)

    def set_verification(self, verification: Verification, seconds: float) -> None:
        """Show a verification and the time it took."""
        self.verification_seconds.set(seconds)
        for result in verification.results:
            self.verification_accuracy.labels(self._rank, result.dataset).set(result.accuracy)

    def _gauge(self, name: str, text: str) -> "RankGauge":
        return RankGauge(Gauge(name, text, ["rank"], registry=self.registry), self._rank)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["rank"], registry=self.registry).labels(self._rank)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A line per scrape would drown the log."""


def serve(address: str, port: int, metrics: TrainMetrics, report: Callable[[], TrainerReport] | None) -> int:
    """Serve /metrics, and /progress where given, in a daemon thread.

    Returns:
        The port, which differs from the one asked for when that is 0.

    Raises:
        ArcFaceError: when the port is taken or the address is not this host's.
    """
    try:
        server = make_server(address, port, application(metrics, report), _Server, _SilentHandler)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        raise ArcFaceError(f"metrics cannot be served at {address}:{port} ({name}): free the port") from error
    Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server.server_port


def application(metrics: TrainMetrics, report: Callable[[], TrainerReport] | None) -> "WSGIApplication":
    """WSGI application of the two paths."""
    prometheus = make_wsgi_app(metrics.registry)

    def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            return cast("Iterable[bytes]", prometheus(environ, start_response))
        if path == "/progress" and report is not None:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [report().to_json().encode()]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"not found\n"]

    return respond
