"""The evaluator of a job as a process of its own, with a small network, which tells of every batch that it embeds."""

import multiprocessing
import os
import signal
import sys
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.errors import ExitCode
from arcface_evaluator import job
from arcface_faces.checkpoint import MANIFEST_FILE
from arcface_faces.embedding.embedder import InProcessEmbedder, embed
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_faces.pairs.protocol import verify
from support.builders.evaluations import write_config
from support.builders.verification_set import corner_network, encoded_image, write_set

BATCH = 16
SETS = {"lfw": 24, "cfp_fp": 32, "agedb_30": 24, "calfw": 32, "cplfw": 24}
"""Pairs of each; the network is wrong about every eighth."""
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


def write_sets(folder: Path) -> None:
    """Sets of pairs of one image, or of two, of which every eighth is said to be the other thing."""
    for name, pairs in SETS.items():
        seeds = [seed for pair in range(pairs) for seed in (2 * pair, 2 * pair + pair % 2)]
        truth = [(pair % 2 == 0) != (pair % 8 == 5) for pair in range(pairs)]
        write_set(folder / f"{name}.bin", [encoded_image(seed) for seed in seeds], truth)


def begin(folder: Path) -> Path:
    """A job that has no evaluation yet; its run configuration."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / MANIFEST_FILE).touch()
    write_sets(folder)
    return write_config(folder, list(SETS))


def live(config: Path, log: Path, batches: int, ended_by: int) -> int | None:
    """One process, which is ended after so many batches unless it has ended by itself; its exit status."""
    log.touch()  # by the kubelet
    process, beats = start_evaluator(config, log)
    seen = 0
    while seen < batches:
        try:
            seen += beats.recv() > 0
        except EOFError:
            break
    with suppress(ProcessLookupError):  # it has ended, and whoever started it for us has seen that
        os.kill(process.pid, ended_by)
    process.join()
    beats.close()
    return process.exitcode


def documents(folder: Path) -> dict[str, bytes]:
    """Content of each document that is there under its name, by set."""
    kept = folder / "checkpoints" / job.FOLDER / "checkpoints"
    return {name: (kept / f"{name}.json").read_bytes() for name in SETS if (kept / f"{name}.json").exists()}


def reported(log: Path) -> dict[str, float]:
    """Accuracies in a termination message, which is whole or empty."""
    content = log.read_bytes()
    report = EvaluatorReport.from_json(content, "log") if content else EvaluatorReport()
    return {each.dataset: each.accuracy for each in report.results}


def expected(folder: Path) -> dict[str, float]:
    """Accuracies by the protocol alone."""
    sets = [read_pair_set(folder / f"{name}.bin") for name in SETS]
    found = [verify(each.name, embed(each, corner_network, 5), each.is_same) for each in sets]
    return {each.dataset: round(each.folds.mean, 6) for each in found}
