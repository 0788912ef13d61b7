"""Pods that end one after the other: the operator waits for the one that tells the cause, however slow the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL
from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import TrainingJobs, condition
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import ALWAYS, Ending, Script, by_rank, label_of

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


def test_what_names_its_cause_is_not_waited_for(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    """Peers sit in a collective until MindSpore misses the rank, half a minute later, or are seen to fail first."""
    victim = Script(runs=0.0, ending=Ending(exit_code=1, message="Connection reset by peer"))
    out_of_memory = Script(runs=1.5, ending=Ending(exit_code=137, reason="OOMKilled"))
    told = {"failure": {"reason": "RankDied", "message": "rank 2 died with signal SIGKILL", "rank": 2, "exitCode": 137}}
    killed = Script(runs=0.3, ending=Ending(exit_code=137, message=told))
    attempts = {"0": by_rank({0: victim, 1: out_of_memory}), "1": by_rank({2: killed})}
    fake_nodes.play(jobs.namespace, lambda pod: attempts.get(label_of(pod, ATTEMPT_LABEL), lambda _: ALWAYS)(pod))
    jobs.create(workers={"replicas": 3})
    first = jobs.wait_until(lambda status: status.get("restarts") == 1)["failure"]
    second = jobs.wait_until(lambda status: status.get("restarts") == 2)["failure"]
    assert (first["reason"], first["pod"]) == ("OOMKilled", "quick-worker-1")
    assert (second["reason"], second["pod"]) == ("RankDied", "quick-worker-2")
    jobs.wait_until(lambda _: {label_of(pod, ATTEMPT_LABEL) for pod in jobs.pods().values()} == {"2"})
