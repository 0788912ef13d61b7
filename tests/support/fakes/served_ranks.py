"""Ranks that train nothing: they serve figures at their pod's address as the trainer does."""

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from wsgiref.simple_server import make_server

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import PairResult, Verification
from arcface_trainer.metrics import TrainMetrics, application

PERIOD_SECONDS = 0.2
VERIFIED = Verification(epoch=1, step=100, results=[PairResult(dataset="lfw", accuracy=0.95, std=0.01, pairs=600)])


class ServedRanks:
    """A thread that makes steps, and a server for each rank, while the context is open."""

    def __init__(self, addresses: Iterable[str], ranks_per_pod: int, report: TrainerReport) -> None:
        self.places = [(address, local) for address in addresses for local in range(ranks_per_pod)]
        self.report = report
        self.metrics = [TrainMetrics(rank) for rank in range(len(self.places))]
        self.end = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for rank, (address, local) in enumerate(self.places):
                shown = (lambda: self.report) if rank == 0 else None
                server = make_server(address, METRICS_PORT + local, application(self.metrics[rank], shown))
                server.RequestHandlerClass.log_message = lambda *_: None
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            threading.Thread(target=self.train, daemon=True).start()
            stack.callback(self.end.set)
            self.stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    def train(self) -> None:
        """Make steps until the end."""
        step = 0
        while not self.end.wait(PERIOD_SECONDS):
            step += 1
            for rank, metrics in enumerate(self.metrics):
                show(metrics, step, rank)


def show(metrics: TrainMetrics, step: int, rank: int) -> None:
    """Figures of a step."""
    metrics.loss.set(20 / step)
    metrics.step_seconds.observe(PERIOD_SECONDS)
    metrics.images.inc(32)
    metrics.images_per_second.set(32 / PERIOD_SECONDS)
    metrics.step.set(step)
    metrics.epoch.set(step // 100)
    metrics.learning_rate.set(0.1)
    metrics.data_wait.inc(0.01 * (rank + 1))
    metrics.checkpoint_seconds.set(1.5)
    metrics.checkpoint_step.set(step - step % 50)
    metrics.embedding_norm.set(11.5)
    metrics.loss_scale.set(1)  # as in float32
    if rank == 0:
        metrics.set_verification(VERIFIED, 0.8)
        metrics.verification_images.set(1200)
