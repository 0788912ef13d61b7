"""Evaluators that are killed at whatever moment: nothing that was done is lost, done twice or wrong in the end."""

import random
import signal
import sys

from arcface_api.errors import ExitCode
from arcface_evaluator.job import FOLDER
from arcface_evaluator.report.document import EvaluationFile
from support.processes.evaluator_process import SETS, begin, documents, expected, live, reported

MOST_BATCHES = 12
"""Of a life, in both views; the largest set takes 8."""
KILLS = 10


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
