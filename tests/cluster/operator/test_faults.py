"""What follows from faults on a real API server and scheduler; kubelets are played."""

import pytest

from arcface_api.contract.launcher_words import PodWord
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION, RankIdentity
from arcface_api.contract.reports import ReportedFailure
from arcface_trainer.pod.launches import Exchange
from support.processes.training_jobs import TRAINS, TrainingJobs
from support.waiting import wait_until
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


def test_a_dead_rank_has_pods_start_their_ranks_anew_and_stay(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    """The launcher of pod 0 is the real one, at the address of the pod that is played."""
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers={"replicas": 2})
    jobs.wait_for("Training")
    before, uid = jobs.pods(), jobs.read()["metadata"]["uid"]
    exchange = Exchange(RankIdentity(world_size=2, attempt=0, job_uid=uid))
    exchange.serve(before["quick-worker-0"]["status"]["podIP"])
    failure = ReportedFailure(reason="RankDied", message="rank 1 died with signal SIGKILL", rank=1, exit_code=137)
    word = PodWord(job_uid=uid, attempt=0, launch=0, rank=1, failure=failure, step=9)
    wait_until(lambda: exchange.take(word))
    status = jobs.wait_until(lambda status: status.get("launch") == 1)
    assert (status["restarts"], status["countedRestarts"], status["attempt"]) == (1, 1, 0)
    assert (status["failure"]["pod"], status["failure"]["exitCode"]) == ("quick-worker-1", 137)
    assert [(each["rung"], each["cause"]) for each in status["recoveries"]] == [("InPlace", "RankDied")]
    wait_until(
        lambda: [pod["metadata"]["annotations"].get(LAUNCH_ANNOTATION) for pod in jobs.pods().values()] == ["1", "1"]
    )
    after = jobs.pods()
    assert {name: pod["metadata"]["uid"] for name, pod in after.items()} == {
        name: pod["metadata"]["uid"] for name, pod in before.items()
    }
