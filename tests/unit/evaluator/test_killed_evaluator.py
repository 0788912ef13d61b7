"""Evaluators that are killed at whatever moment: nothing that was done is lost, done twice or wrong in the end."""

import os
import random
import signal
import sys
from contextlib import suppress

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.errors import ExitCode
from arcface_evaluator.job import FOLDER
from arcface_evaluator.report.document import EvaluationFile
from arcface_faces.checkpoint import MANIFEST_FILE
from arcface_faces.embedding.embedder import embed
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_faces.pairs.protocol import verify
from support.builders.evaluations import write_config
from support.builders.verification_set import corner_network, encoded_image, write_set
from support.processes.evaluator_process import start_evaluator

SETS = {"lfw": 24, "cfp_fp": 32, "agedb_30": 24, "calfw": 32, "cplfw": 24}
"""Pairs of each; the network is wrong about every eighth."""
MOST_BATCHES = 12
"""Of a life, in both views; the largest set takes 8."""
KILLS = 10


def write_sets(folder):
    """Sets of pairs of one image, or of two, of which every eighth is said to be the other thing."""
    for name, pairs in SETS.items():
        seeds = [seed for pair in range(pairs) for seed in (2 * pair, 2 * pair + pair % 2)]
        truth = [(pair % 2 == 0) != (pair % 8 == 5) for pair in range(pairs)]
        write_set(folder / f"{name}.bin", [encoded_image(seed) for seed in seeds], truth)


def begin(folder):
    """A job that has no evaluation yet; its run configuration."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / MANIFEST_FILE).touch()
    write_sets(folder)
    return write_config(folder, list(SETS))


def live(config, log, batches, ended_by):
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


def documents(folder):
    """Content of each document that is there under its name, by set."""
    kept = folder / "checkpoints" / FOLDER / "checkpoints"
    return {name: (kept / f"{name}.json").read_bytes() for name in SETS if (kept / f"{name}.json").exists()}


def reported(log):
    """Accuracies in a termination message, which is whole or empty."""
    content = log.read_bytes()
    report = EvaluatorReport.from_json(content, "log") if content else EvaluatorReport()
    return {each.dataset: each.accuracy for each in report.results}


def expected(folder):
    """Accuracies by the protocol alone."""
    sets = [read_pair_set(folder / f"{name}.bin") for name in SETS]
    found = [verify(each.name, embed(each, corner_network, 5), each.is_same) for each in sets]
    return {each.dataset: round(each.folds.mean, 6) for each in found}


def test_ten_kills_lose_nothing_and_have_nothing_done_twice(tmp_path):
    moments, statuses, job = random.Random(17), [], 0
    while len(statuses) < KILLS:
        job, done, status = job + 1, {}, None
        config = begin(tmp_path / str(job))
        while status != 0:
            log = tmp_path / str(job) / f"termination-{len(statuses)}"
            batches = moments.randint(1, MOST_BATCHES) if len(statuses) < KILLS else sys.maxsize
            status = live(config, log, batches, moments.choice([signal.SIGKILL, signal.SIGTERM]))
            assert status in {0, -signal.SIGKILL, ExitCode.STOPPED}
            statuses += [] if status == 0 else [status]
            found, told = documents(config.parent), list(reported(log))
            assert {name: found[name] for name in done} == done  # the very bytes, with the time of their making
            assert told in (list(found), list(found)[:-1])  # what was kept a moment ago the next one tells
            assert len(told) >= len(done)
            done = found
        assert reported(log) == expected(config.parent)
        joined = EvaluationFile.read(config.parent / "checkpoints" / FOLDER / "checkpoints.json")
        assert [each.dataset for each in joined.sets] == list(SETS)
    assert set(statuses) == {-signal.SIGKILL, ExitCode.STOPPED}
