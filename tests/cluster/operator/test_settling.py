"""Pods that end one after the other: the operator waits for the one that tells the cause, however slow the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import TrainingJobs, condition
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Script, by_rank

TWO = {"replicas": 2}
PATIENT = {"settleSeconds": 600}
"""Longer than any machine is slow: the window ends when all pods have ended, and by that alone."""


@pytest.fixture(autouse=True)
def patient_operator(plane: ControlPlane, folder: Path, namespace: str) -> Iterator[None]:
    """An operator of the test's own namespace."""
    arguments = ("--no-leader-election", "--namespace", namespace)
    with OperatorProcess(plane, folder, *arguments, settings=PATIENT) as process:
        process.wait_until_it_leads()
        yield


@pytest.mark.parametrize(("code", "reason"), [(2, "InvalidInput"), (3, "Diverged")])
def test_what_no_retry_cures_is_not_retried(jobs: TrainingJobs, fake_nodes: FakeNodes, code: int, reason: str) -> None:
    told = {"failure": {"reason": reason, "message": "train.rec: is cut short", "rank": 1, "exitCode": code}}
    culprit = Script(runs=0.3, ending=Ending(exit_code=code, message=told))
    victim = Script(runs=0.1, ending=Ending(exit_code=1, message="peer lost"))
    fake_nodes.play(jobs.namespace, by_rank({0: victim, 1: culprit}))
    jobs.create(workers=TWO)
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == status["failure"]["reason"] == reason
    assert status["failure"]["message"] == "pod quick-worker-1: train.rec: is cut short"
    assert status.get("restarts", 0) == 0
