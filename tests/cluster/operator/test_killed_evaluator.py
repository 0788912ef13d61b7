"""An evaluator that is killed ten times: real processes in played pods; the operator tells of their sets."""

import signal
from pathlib import Path
from typing import Any

import pytest

from arcface_api.errors import ExitCode
from support.processes.evaluator_process import SETS, begin, documents, expected, live, reported
from support.processes.training_jobs import TrainingJobs, goes_well
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Script

pytestmark = pytest.mark.usefixtures("operator")

LIVES = (3, 7, 2, 9, 1, 7, 5, 9, 3, 2)
"""Batches that each sees before it is killed in the next one; sets have six or eight."""


def results(status: dict[str, Any]) -> dict[str, float]:
    """Accuracies that a status tells."""
    return {each["dataset"]: each["accuracy"] for each in status.get("evaluation", {}).get("results", [])}


def test_each_set_that_is_done_is_in_the_status_whatever_kills_the_evaluator(
    jobs: TrainingJobs, fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    fake_nodes.play(jobs.namespace, goes_well(Script()))
    config = begin(tmp_path / "job")
    evaluation = {"claimName": "faces", "sets": list(SETS)}
    jobs.create(evaluation=evaluation, runPolicy={"backoffLimit": len(LIVES)})
    counts, kept = [], dict[str, bytes]()
    for number, batches in enumerate(LIVES):
        jobs.wait_for("Evaluating")
        log = tmp_path / f"termination-{number}"
        ended_by = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        code = {-signal.SIGKILL: 137, ExitCode.STOPPED: ExitCode.STOPPED}[live(config, log, batches, ended_by)]
        fake_nodes.finish(jobs.namespace, "quick-evaluate", Ending(exit_code=code, message=log.read_text()))
        told = reported(log)
        jobs.wait_until(
            lambda status, told=told, lost=number + 1: (results(status), status["restarts"]) == (told, lost)
        )
        found = documents(config.parent)
        assert {name: found[name] for name in kept} == kept  # none is made twice
        kept = found
        counts.append(len(told))
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 3 <= counts[-1] < len(SETS)
    jobs.wait_for("Evaluating")
    log = tmp_path / "termination"
    assert live(config, log, 1000, signal.SIGKILL) == 0
    fake_nodes.finish(jobs.namespace, "quick-evaluate", Ending(message=log.read_text()))
    assert results(jobs.wait_for("Succeeded")) == expected(config.parent)
