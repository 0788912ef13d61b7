"""The evaluator of a job as a process of its own, with a small network, which tells of every batch that it embeds."""

import multiprocessing
import signal
import sys
from contextlib import nullcontext
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import ExitCode
from arcface_evaluator import job
from arcface_faces.embedding.embedder import InProcessEmbedder
from support.builders.verification_set import corner_network

BATCH = 16
FORKS = multiprocessing.get_context("forkserver")
"""Its server has loaded everything, so that a process costs no seconds of importing."""
FORKS.set_forkserver_preload([__name__, "arcface_evaluator.report.pages.evaluation_page"])


def start_evaluator(config: Path, log: Path) -> tuple[BaseProcess, Connection]:
    """An evaluator, and what it sends a word through before each batch of a view."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_evaluate, args=(config, log, theirs))
    process.start()
    theirs.close()
    return process, ours


def _evaluate(config: Path, log: Path, batches: Connection) -> None:
    """Run the job as its pod does."""

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches.send(len(images))
        return corner_network(images)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.STOPPED))  # as the command `arcface` does it
    embedder = InProcessEmbedder(lambda: network, BATCH)
    job.run_job(config, log, lambda *_: nullcontext(embedder), lambda _: None)
