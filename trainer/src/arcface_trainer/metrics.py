"""Figures of a running rank: how fast it goes, and what Prometheus reads of it, with rank 0's report at /progress.

The meter is pure arithmetic on times that are passed in, and tells something whatever the numbers: a figure that is
not finite is left out, since whoever asks in that moment wants to know most. Imports no other room.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from socketserver import TCPServer
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING, Self, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from arcface_api.bounded_server import BoundedRequest, BoundedThreads
from arcface_api.command import build_labels
from arcface_api.contract.reports import TrainerReport
from arcface_api.errors import explained
from arcface_api.resource.status import Progress, Verification

WINDOW = 20
"""Steps that means are taken over."""
STANDS_OUT = 0.1
"""Share of the time that the slowest rank waits for its images above the median."""
SLOWER = 1.2
"""Times the median that the slowest rank computes on a pair of images."""

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STEP_BUCKETS = (0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 10.0, 30.0)
"""Seconds."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of this rank."""

    loss: float
    seconds: float
    """From the end of the last step to the end of this one."""
    waits: tuple[float, ...]
    """Part of it that each rank waited for its images, in seconds."""
    loss_scale: float | None = None
    """Factor on the loss before differentiation; None where the precision needs none."""


@dataclass(slots=True)
class Meter:
    """Where the training stands and how fast it goes."""

    steps_per_epoch: int
    total_steps: int
    images_per_step: int
    """Over all ranks."""
    step: int = 0
    """Updates made."""
    recent: tuple[StepRecord, ...] = ()
    """The last steps; never changed but replaced, since another thread reads it for /progress."""
    pair_seconds: tuple[float, ...] = ()
    """That each rank took for one of its pairs in the last verification: in steps all ranks take the same time."""

    def add(self, record: StepRecord) -> None:
        """Count one step."""
        self.recent = (*self.recent, record)[-WINDOW:]
        self.step += 1

    def since(self, step: int) -> Self:
        """The figures of the recent steps behind that one alone."""
        return replace(self, recent=self.recent[max(0, len(self.recent) - (self.step - step)) :])

    def go_back(self, step: int) -> None:
        """Count on from an earlier step: what came after it is undone."""
        self.step, self.recent = step, ()

    @property
    def loss(self) -> float | None:
        """Mean of the finite losses of the recent steps; None where there is none."""
        return _mean([record.loss for record in self.recent])

    @property
    def step_seconds(self) -> float | None:
        """Mean time of the recent steps."""
        return _mean([record.seconds for record in self.recent])

    @property
    def images_per_second(self) -> float | None:
        """Images of all ranks per second over the recent steps."""
        seconds = self.step_seconds
        return _mean([self.images_per_step / seconds]) if seconds else None

    @property
    def wait_shares(self) -> list[float]:
        """Share of the recent steps that each rank waited for its images; of nothing before the first step."""
        recent = self.recent
        total = sum(record.seconds for record in recent)
        return [sum(waits) / total for waits in zip(*(record.waits for record in recent), strict=True)] if total else []

    @property
    def data_wait_percent(self) -> float | None:
        """Share of the recent steps that the rank waited which waited longest."""
        share = _mean([max(self.wait_shares, default=math.nan)])
        return None if share is None else min(100.0, max(0.0, 100 * share))

    @property
    def slowest_rank(self) -> int | None:
        """The rank that holds up the others: by its waits for images, else by its speed where it worked by itself."""
        shares, seconds = self.wait_shares, self.pair_seconds
        if shares and max(shares) - median(shares) >= STANDS_OUT and all(map(math.isfinite, shares)):
            return shares.index(max(shares))
        if seconds and max(seconds) >= SLOWER * median(seconds):
            return seconds.index(max(seconds))
        return None

    def progress(self, now: datetime) -> Progress:
        """The figures as the operator polls them."""
        step, seconds = self.step, self.step_seconds
        epoch = step // self.steps_per_epoch
        return Progress(
            epoch=epoch,
            epochs=f"{epoch}/{self.total_steps // self.steps_per_epoch}",
            step=step,
            total_steps=self.total_steps,
            loss=self.loss,
            images_per_second=self.images_per_second,
            step_milliseconds=None if seconds is None else _mean([1000 * seconds]),
            data_wait_percent=self.data_wait_percent,
            slowest_rank=self.slowest_rank,
            loss_scale=_mean([record.loss_scale or math.nan for record in self.recent[-1:]]),
            estimated_completion_time=self._completion_time(now),
            updated_at=now,
        )

    def _completion_time(self, now: datetime) -> datetime | None:
        """When the last step will be done at this speed; None where nothing tells, or beyond all calendars.

        The oldest of the recent steps is left out: a rank's first one has the compilation in it.
        """
        if (seconds := _mean([record.seconds for record in self.recent[1:]])) is None:
            return None
        try:
            return now + timedelta(seconds=(self.total_steps - self.step) * seconds)
        except OverflowError:
            return None

    def log_line(self, now: datetime) -> str:
        """The same for people who read the log."""
        progress = self.progress(now)
        done_at = progress.estimated_completion_time
        left = "unknown" if done_at is None else str(done_at - now).partition(".")[0]
        loss = math.nan if progress.loss is None else progress.loss
        return (
            f"step={progress.step}/{progress.total_steps} epoch={progress.epoch} loss={loss:.4f} "
            f"images_per_second={progress.images_per_second or 0:.1f} step_ms={progress.step_milliseconds or 0:.0f} "
            f"data_wait={progress.data_wait_percent or 0:.1f}% eta={left}"
        )


def _mean(values: list[float]) -> float | None:
    """Arithmetic mean of the finite ones; None where there is none, or it is too large for a float."""
    finite = [value for value in values if math.isfinite(value)]
    mean = sum(finite) / len(finite) if finite else math.nan
    return mean if math.isfinite(mean) else None


class RankGauge:
    """A gauge that is absent until it is set: a loss of 0 before the first step would be a wrong number."""

    def __init__(self, gauge: Gauge, rank: str) -> None:
        self.gauge = gauge
        self.rank = rank

    def set(self, value: float) -> None:
        """Show a value from now on."""
        self.gauge.labels(self.rank).set(value)

    def follow(self, value: Callable[[], float]) -> None:
        """Show from now on what it is whenever somebody looks."""
        self.gauge.labels(self.rank).set_function(value)


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
        self.checkpoint_seconds = self._gauge(
            "arcface_train_checkpoint_seconds", "Time from the copy of the state to the checkpoint."
        )
        self.checkpoint_step = self._gauge("arcface_train_checkpoint_step", "Updates in the newest checkpoint.")
        self.checkpoint_pending = self._gauge(
            "arcface_train_checkpoint_pending_seconds", "Time that this rank's part of the save under way has taken."
        )
        self.checkpoint_wait = self._counter(
            "arcface_train_checkpoint_wait_seconds_total", "Time that the training waited for checkpoints."
        )
        self.checkpoint_failures = self._counter(
            "arcface_train_checkpoint_failures_total", "Checkpoints that this rank could not write its part of."
        )
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
        self.verification_images = self._gauge(
            "arcface_train_verification_images", "Images that this rank has embedded in verifications."
        )
        build = Gauge("arcface_build_info", "1, labelled with what runs.", [*build_labels()], registry=self.registry)
        build.labels(**build_labels()).set(1)

    def set_verification(self, verification: Verification, seconds: float) -> None:
        """Show a verification and the time it took."""
        self.verification_seconds.set(seconds)
        for result in verification.results:
            self.verification_accuracy.labels(self._rank, result.dataset).set(result.accuracy)

    def _gauge(self, name: str, text: str) -> "RankGauge":
        return RankGauge(Gauge(name, text, ["rank"], registry=self.registry), self._rank)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["rank"], registry=self.registry).labels(self._rank)


class _Server(BoundedThreads, WSGIServer):
    def server_bind(self) -> None:
        """Take the port, without a look-up of the address's name: it lasts for seconds where no name server answers."""
        TCPServer.server_bind(self)
        host, self.server_port = self.socket.getsockname()[:2]
        self.server_name = str(host)
        self.setup_environ()


class _SilentHandler(BoundedRequest, WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A line per scrape would drown the log."""


def serve(address: str, port: int, metrics: TrainMetrics, report: Callable[[], TrainerReport] | None) -> int:
    """Serve /metrics, and /progress where given, in a daemon thread.

    Returns:
        The port, which differs from the one asked for when that is 0.

    Raises:
        ArcFaceError: when the port is taken.
        InvalidInput: when the address is not this host's.
    """
    with explained(f"{address}:{port}", "metrics cannot be served", "let POD_IP be an address of this host"):
        server = make_server(address, port, application(metrics, report), _Server, _SilentHandler)
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
