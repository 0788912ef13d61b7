"""What follows from faults on a real API server and scheduler; kubelets are played."""

import pytest

from support.processes.training_jobs import TRAINS, TrainingJobs
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import by_rank

pytestmark = pytest.mark.usefixtures("operator")

WHOLE_NODES = {"accelerator": "ascend", "devicesPerWorker": 8}
FP32 = {"precision": "fp32"}


def test_after_an_eviction_the_gang_goes_to_the_other_nodes(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers={**WHOLE_NODES, "replicas": 7}, training=FP32)
    jobs.wait_for("Training")
    blamed = jobs.pods()["quick-worker-1"]["spec"]["nodeName"]
    fake_nodes.evict(jobs.namespace, "quick-worker-1")
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert [(node["name"], node["reason"]) for node in status["avoidedNodes"]] == [(blamed, "Evicted")]
    assert {pod["spec"]["nodeName"] for pod in jobs.pods().values()} == set(fake_nodes.names) - {blamed}


def test_a_job_that_needs_every_node_takes_the_blamed_one_again(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers={**WHOLE_NODES, "replicas": 8}, training=FP32)
    jobs.wait_for("Training")
    fake_nodes.evict(jobs.namespace, "quick-worker-1")
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert len(status["avoidedNodes"]) == 1
    assert len({pod["spec"]["nodeName"] for pod in jobs.pods().values()}) == 8


def test_a_users_rule_ends_what_the_operator_would_try_again(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers={"replicas": 2}, runPolicy={"failureRules": [{"reasons": ["Evicted"], "action": "Fail"}]})
    jobs.wait_for("Training")
    fake_nodes.evict(jobs.namespace, "quick-worker-1")
    status = jobs.wait_for("Failed")
    assert (status["failure"]["reason"], status.get("restarts", 0)) == ("Evicted", 0)
