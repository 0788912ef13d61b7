"""A job's life on a real control plane; kubelets are played, see testbed.fake_nodes.scripts."""

import json
from typing import Any

import pytest

from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import (
    CHECKPOINT,
    EVALUATED,
    TRAINED,
    TRAINS,
    WELL,
    TrainingJobs,
    condition,
    goes_well,
)
from support.waiting import wait_until
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import NEVER_PULLED, Devices, Ending, Eviction, Script, by_rank

pytestmark = pytest.mark.usefixtures("operator")

TWO = {"replicas": 2}
EVALUATION = {"claimName": "faces", "sets": ["lfw"]}
ASCEND = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 8}
FP32 = {"precision": "fp32"}


def test_a_job_trains_evaluates_and_tells_its_story(
    jobs: TrainingJobs, fake_nodes: FakeNodes, plane: ControlPlane
) -> None:
    fake_nodes.play(jobs.namespace, goes_well(trainer=TRAINS))
    jobs.create(workers=TWO, evaluation=EVALUATION)
    jobs.wait_for("Training")
    for index in range(2):
        fake_nodes.finish(jobs.namespace, f"quick-worker-{index}", WELL)
    status = jobs.wait_for("Succeeded")
    assert status["workers"] == {"desired": 2, "ready": 0, "succeeded": 2, "failed": 0, "summary": "0/2"}
    assert status["progress"]["step"] == TRAINED.progress.step == 1400
    assert status["checkpoint"] == CHECKPOINT
    assert status["evaluation"]["results"] == [{"dataset": "lfw", "accuracy": 0.998, "std": 0.003, "pairs": 6000}]
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "Ready": "False",
        "Scheduled": "False",
        "Training": "False",
        "CheckpointAvailable": "True",
        "Evaluated": "True",
        "Complete": "True",
        "Reachable": "Unknown",
        "Failed": "False",
    }
    # The scheduler and the evaluator may be faster than a look.
    assert set(jobs.events()) - {"Queued", "Evaluating"} == {"Pending", "Starting", "Training", "Succeeded"}
    header, row = plane.kubectl("get", "arcfacejobs", "-n", jobs.namespace).splitlines()
    shown = dict(zip(header.split(), row.split(), strict=False))
    assert (shown["NAME"], shown["PHASE"], shown["EPOCH"], shown["LFW"]) == ("quick", "Succeeded", "20/20", "0.998")


def test_ranks_are_told_where_they_meet_as_soon_as_pod_0_has_an_address(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers={"replicas": 3})
    status = jobs.wait_for("Training")
    assert status["progress"]["imagesPerSecond"] == 8200.5
    address = jobs.pods()["quick-worker-0"]["status"]["podIP"]
    wait_until(lambda: told_addresses(jobs) == [address] * 3)


def told_addresses(jobs: TrainingJobs) -> list[str | None]:
    annotations = [pod["metadata"].get("annotations", {}) for pod in jobs.pods().values()]
    return [found.get("arcface.io/scheduler-address") for found in annotations]


def test_the_rank_table_is_completed_from_the_device_plugins_annotations(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=ASCEND, training=FP32)
    status = jobs.wait_until(lambda status: condition(status, "RankTableReady").get("status") == "True")
    assert status["rankTable"] == {"state": "completed", "ready": 16, "total": 16, "missing": []}
    wait_until(lambda: "completed" in jobs.config_map("rings-config-quick")["hccl.json"])
    table = json.loads(jobs.config_map("rings-config-quick")["hccl.json"])
    pods = [pod for _, pod in sorted(jobs.pods().items())]
    assert (table["status"], table["version"], table["server_count"]) == ("completed", "1.0", "2")
    assert [server["container_ip"] for server in table["server_list"]] == [pod["status"]["podIP"] for pod in pods]
    ranks = [device["rank_id"] for server in table["server_list"] for device in server["device"]]
    assert ranks == [str(rank) for rank in range(16)]
    assert [pod["metadata"]["annotations"]["hccl/rankIndex"] for pod in pods] == ["0", "1"]


def test_a_stuck_rank_table_names_the_pod(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({1: Script(devices=None)}, others=TRAINS))
    jobs.create(workers=ASCEND, training=FP32)
    status = jobs.wait_until(lambda status: condition(status, "RankTableReady").get("reason") == "WaitingForDevices")
    assert status["rankTable"]["missing"] == ["quick-worker-1"] or status["rankTable"]["ready"] == 0
    jobs.wait_until(lambda status: status["rankTable"]["ready"] == 8)
    assert "quick-worker-1" in condition(jobs.status(), "RankTableReady")["message"]


def test_an_unknown_card_address_is_refused(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({0: Script(devices=Devices(without_address=1))}, others=TRAINS))
    jobs.create(workers=ASCEND, training=FP32)
    jobs.wait_until(lambda status: condition(status, "RankTableReady").get("reason") == "DevicesUnusable")
    assert "quick-worker-0" in condition(jobs.status(), "RankTableReady")["message"]
    assert json.loads(jobs.config_map("rings-config-quick")["hccl.json"]) == {"status": "initializing"}


def test_a_crash_restarts_the_whole_gang(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO)
    jobs.wait_for("Training")
    before = {pod["metadata"]["uid"] for pod in jobs.pods().values()}
    fake_nodes.finish(jobs.namespace, "quick-worker-1", Ending(exit_code=1, message="Segmentation fault"))
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert (status["attempt"], status["countedRestarts"]) == (1, 1)
    assert (status["failure"]["rank"], status["failure"]["exitCode"]) == (1, 1)
    assert status["failure"]["log"] == ["Segmentation fault"]
    pods = jobs.pods()
    assert not before & {pod["metadata"]["uid"] for pod in pods.values()}
    assert {pod["metadata"]["labels"]["arcface.io/attempt"] for pod in pods.values()} == {"1"}


def test_crashes_beyond_the_limit_fail_the_job(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({0: Script(runs=0.1, ending=Ending(exit_code=9))}, others=TRAINS))
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 1})
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "BackoffLimitExceeded"
    assert (status["restarts"], status["attempt"], status["failure"]["pod"]) == (1, 1, "quick-worker-0")
    wait_until(lambda: list(jobs.pods()) == ["quick-worker-0"])  # the peer that ran is cleaned away


def test_an_eviction_is_not_counted(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training")
    fake_nodes.evict(jobs.namespace, "quick-worker-1", Eviction())
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert (status["countedRestarts"], status["failure"]["reason"]) == (0, "Evicted")


def test_a_pod_that_somebody_deletes_is_replaced_with_its_gang(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training")
    jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/quick-worker-0")
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert status["countedRestarts"] == 0


def test_pods_of_a_lost_node_are_replaced(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training")
    fake_nodes.lose(jobs.pods()["quick-worker-1"]["spec"]["nodeName"])
    jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/quick-worker-1")  # as the taint manager does
    status = jobs.wait_until(lambda status: status.get("restarts") == 1 and status["phase"] == "Training")
    assert status["countedRestarts"] == 0


def test_a_start_that_takes_too_long_says_what_it_waited_for(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({0: Script(), 1: NEVER_PULLED}))
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 0, "startupDeadlineSeconds": 3})
    jobs.wait_until(
        lambda status: "quick-worker-1: ImagePullBackOff" in condition(status, "Training").get("message", "")
    )
    status = jobs.wait_for("Failed")
    assert status["failure"]["reason"] == "StartupDeadlineExceeded"
    assert "quick-worker-1: ImagePullBackOff" in status["failure"]["message"]
    wait_until(lambda: not jobs.pods())


def test_a_stall_restarts_the_gang(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO, runPolicy={"stallSeconds": 2})
    status = jobs.wait_until(lambda status: status.get("restarts", 0) >= 1)
    assert (status["failure"]["reason"], status["countedRestarts"]) == ("Stalled", 1)


def test_suspend_takes_the_pods_and_resume_brings_a_new_attempt(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(workers=TWO)
    jobs.wait_for("Training")
    jobs.patch(suspend=True)
    status = jobs.wait_for("Suspended")
    assert "startTime" not in status
    wait_until(lambda: not jobs.pods())
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.patch(suspend=False)
    status = jobs.wait_for("Succeeded")
    assert (status["attempt"], status["restarts"]) == (1, 0)


def test_a_job_created_suspended_takes_nothing(jobs: TrainingJobs) -> None:
    jobs.create(suspend=True)
    jobs.wait_for("Suspended")
    assert not jobs.pods()
    assert not jobs.children("services")


def test_nothing_is_taken_while_storage_is_missing(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(data={"claimName": "later"})
    status = jobs.wait_until(lambda status: condition(status, "Ready"))
    assert condition(status, "Ready")["reason"] == "ClaimMissing"
    assert "spec.data.claimName: there is no PersistentVolumeClaim 'later'" in condition(status, "Ready")["message"]
    assert not jobs.pods()
    bind_empty_claim(jobs.api, jobs.namespace, "later")
    jobs.wait_for("Succeeded")


def test_more_devices_than_any_node_has_is_said_before_anything_is_taken(jobs: TrainingJobs) -> None:
    jobs.create(workers={"accelerator": "ascend", "devicesPerWorker": 16}, training=FP32)
    status = jobs.wait_until(lambda status: condition(status, "Ready"))
    assert condition(status, "Ready")["reason"] == "DevicesMissing"
    assert not jobs.pods()


def test_what_is_not_supported_fails_at_once(jobs: TrainingJobs) -> None:
    jobs.create(workers={"accelerator": "ascend", "resourceName": "huawei.com/npu"}, training=FP32)
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "InvalidSpec"
    assert "spec.workers.resourceName" in condition(status, "Failed")["message"]


def test_a_quota_is_told_and_waited_for(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "1"}}}
    path = f"/api/v1/namespaces/{jobs.namespace}/resourcequotas"
    jobs.api.post(path, json=quota).raise_for_status()
    wait_until(lambda: jobs.api.get(f"{path}/none").json().get("status", {}).get("hard"))
    jobs.create(workers=TWO)
    status = jobs.wait_until(lambda status: condition(status, "Ready").get("reason") == "Refused")
    assert "exceeded quota" in condition(status, "Ready")["message"]
    jobs.api.delete(f"{path}/none").raise_for_status()
    jobs.wait_for("Succeeded")


def test_a_missed_gate_fails_the_job_with_its_results_kept(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    gates = [{"metric": "lfw.accuracy", "min": 0.999}]
    jobs.create(evaluation={**EVALUATION, "gates": gates})
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "GateMissed"
    assert status["evaluation"]["gates"] == [{**gates[0], "value": 0.998, "passed": False}]
    assert status["evaluation"]["checkpoint"] == EVALUATED.checkpoint


def test_an_evaluator_that_fails_for_good_fails_the_job_with_the_sets_that_were_done_kept(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    failure = {"reason": "InvalidInput", "message": "cfp_fp.bin: image 7: does not decode", "exitCode": 2}
    told = {**json.loads(EVALUATED.to_json()), "failure": failure}
    fake_nodes.play(jobs.namespace, goes_well(Script(runs=0.0, ending=Ending(exit_code=2, message=told))))
    jobs.create(evaluation={**EVALUATION, "sets": ["lfw", "cfp_fp"]})
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "EvaluationFailed"
    assert failure["message"] in status["failure"]["message"]
    assert status["evaluation"]["results"] == [{"dataset": "lfw", "accuracy": 0.998, "std": 0.003, "pairs": 6000}]


def test_a_failed_evaluation_is_opened_again_by_an_annotation(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well(Script(runs=0.0, ending=Ending(exit_code=2))))
    jobs.create(evaluation=EVALUATION)
    jobs.wait_for("Failed")
    trained = {uid_of(pod) for name, pod in jobs.pods().items() if "worker" in name}
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.annotate("arcface.io/evaluate-again", "the set is there now")
    status = jobs.wait_for("Succeeded")
    assert status["evaluation"]["results"][0]["accuracy"] == 0.998
    assert {uid_of(pod) for name, pod in jobs.pods().items() if "worker" in name} == trained


def test_an_evaluator_on_a_lost_node_runs_again_elsewhere(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well(Script()))
    jobs.create(evaluation=EVALUATION, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Evaluating")
    lost = jobs.pods()["quick-evaluate"]
    fake_nodes.play(jobs.namespace, goes_well())
    fake_nodes.lose(lost["spec"]["nodeName"])
    jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/quick-evaluate")  # as the taint manager does
    status = jobs.wait_for("Succeeded")
    assert (status["restarts"], status["countedRestarts"]) == (1, 0)
    assert uid_of(jobs.pods()["quick-evaluate"]) != uid_of(lost)


def test_a_job_that_is_suspended_while_it_is_evaluated_does_not_train_again(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, goes_well(Script()))
    jobs.create(workers=TWO, evaluation=EVALUATION)
    jobs.wait_for("Evaluating")
    jobs.patch(suspend=True)
    jobs.wait_for("Suspended")
    wait_until(lambda: not jobs.pods())
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.patch(suspend=False)
    status = jobs.wait_for("Succeeded")
    assert (status["attempt"], status["restarts"]) == (2, 0)
    assert list(jobs.pods()) == ["quick-evaluate"]


def uid_of(pod: dict[str, Any]) -> str:
    uid: str = pod["metadata"]["uid"]
    return uid


def test_a_gang_without_room_is_queued_with_the_schedulers_words(jobs: TrainingJobs) -> None:
    nowhere = {"spec": {"nodeSelector": {"disk": "none"}}}
    jobs.create(workers={**TWO, "template": nowhere}, runPolicy={"startupDeadlineSeconds": 1})
    words = "quick-worker-0: Unschedulable: "
    status = jobs.wait_until(lambda status: words in condition(status, "Ready").get("message", ""))
    assert status["phase"] == "Queued"
    jobs.patch(runPolicy={"startupDeadlineSeconds": 1, "schedulingDeadlineSeconds": 3})
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "SchedulingDeadlineExceeded"
    assert (status["restarts"], status["attempt"]) == (0, 0)


def test_the_deadline_fires_without_any_event(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, by_rank({}, others=TRAINS))
    jobs.create(runPolicy={"activeDeadlineSeconds": 3})
    status = jobs.wait_for("Failed")
    assert condition(status, "Failed")["reason"] == "DeadlineExceeded"
    wait_until(lambda: not jobs.pods())


@pytest.mark.parametrize(("policy", "left"), [("None", 2), ("Running", 2), ("All", 0)])
def test_pods_are_cleaned_away_as_asked_for(jobs: TrainingJobs, fake_nodes: FakeNodes, policy: str, left: int) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(workers=TWO, runPolicy={"cleanPodPolicy": policy})
    jobs.wait_for("Succeeded")
    wait_until(lambda: len(jobs.pods()) == left)


def test_a_job_and_all_of_it_goes_when_its_time_is_over(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(evaluation=EVALUATION, runPolicy={"ttlSecondsAfterFinished": 1})
    wait_until(lambda: not jobs.exists())  # its last second may pass between two looks at its phase
    wait_until(lambda: nothing_is_left(jobs))


def nothing_is_left(jobs: TrainingJobs) -> bool:
    kinds = [("pods", "v1"), ("services", "v1"), ("configmaps", "v1")]
    return not any(jobs.children(*kind) for kind in kinds)


def test_metrics_tell_of_every_job(jobs: TrainingJobs, fake_nodes: FakeNodes, operator: OperatorProcess) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(evaluation=EVALUATION)
    jobs.wait_for("Succeeded")
    labels = f'name="quick",namespace="{jobs.namespace}"'
    wait_until(lambda: f'arcface_job_phase{{{labels},phase="Succeeded"}} 1.0' in operator.metrics())
    assert f'arcface_job_evaluation_accuracy{{dataset="lfw",{labels}}} 0.998' in operator.metrics()
