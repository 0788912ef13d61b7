"""The scheduler and the queue of a job's pods, the evaluator's included."""

from typing import Any

import pytest

from arcface_operator.manifests.evaluator_pod import build_evaluator_pod, evaluation_gang
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.manifests.worker_pod import build_worker_pod, training_gang
from arcface_operator.settings import Settings
from support.builders.jobs import make_job


def job_of(**scheduling: Any) -> Any:
    return make_job(
        workers={"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 4},
        evaluation={"claimName": "sets"},
        scheduling=scheduling,
    )


def pods_of(job: Any) -> list[dict[str, Any]]:
    """A rank pod of the second attempt and the evaluator, which is the third."""
    return [build_worker_pod(job, 0, 1, Settings()), build_evaluator_pod(job, 2, Settings())]


@pytest.mark.parametrize(
    ("scheduling", "scheduler"),
    [
        pytest.param({}, None, id="the cluster's own"),
        pytest.param({"gang": "native"}, None, id="the cluster's own, all or none"),
        pytest.param({"gang": "volcano"}, "volcano", id="volcano"),
        pytest.param({"gang": "coscheduling"}, "scheduler-plugins-scheduler", id="coscheduling"),
        pytest.param({"gang": "kueue", "queue": "npu"}, None, id="kueue admits, the cluster's own places"),
        pytest.param({"gang": "volcano", "schedulerName": "volcano-npu"}, "volcano-npu", id="of another name"),
        pytest.param({"schedulerName": "volcano"}, "volcano", id="without a gang"),
    ],
)
def test_both_stages_ask_one_scheduler_with_one_priority(scheduling: Any, scheduler: str | None) -> None:
    for pod in pods_of(job_of(**scheduling, priorityClassName="high")):
        assert (pod["spec"].get("schedulerName"), pod["spec"]["priorityClassName"]) == (scheduler, "high")


@pytest.mark.parametrize("gang", ["volcano", "coscheduling"])
def test_each_stage_is_a_group_of_its_own_in_the_jobs_queue(gang: str) -> None:
    job = job_of(gang=gang, queue="npu")
    groups = [build_pod_group(job, found, Settings()) for found in (training_gang(job), evaluation_gang(job))]
    assert [group["metadata"]["name"] for group in groups if group] == ["quick", "quick-evaluate"]
    assert [group["spec"]["minMember"] for group in groups if group] == [2, 1]
    devices = [group["spec"]["minResources"] for group in groups if group]
    assert devices == [{"huawei.com/Ascend910": 8}, {"huawei.com/Ascend910": 1}]
    assert [group["spec"].get("queue") for group in groups if group] == ["npu" if gang == "volcano" else None] * 2
    marks = [{**pod["metadata"].get("annotations", {}), **pod["metadata"]["labels"]} for pod in pods_of(job)]
    key = {"volcano": "scheduling.k8s.io/group-name", "coscheduling": "scheduling.x-k8s.io/pod-group"}[gang]
    assert [mark[key] for mark in marks] == ["quick", "quick-evaluate"]


def test_the_clusters_own_scheduler_gets_a_group_for_each_stage_and_its_name_in_each_pod() -> None:
    job = job_of(gang="native")
    groups = [build_pod_group(job, found, Settings()) for found in (training_gang(job), evaluation_gang(job))]
    assert [group["apiVersion"] for group in groups if group] == ["scheduling.k8s.io/v1alpha2"] * 2
    policies = [group["spec"]["schedulingPolicy"] for group in groups if group]
    assert policies == [{"gang": {"minCount": 2}}, {"gang": {"minCount": 1}}]
    named = [pod["spec"]["schedulingGroup"]["podGroupName"] for pod in pods_of(job)]
    assert named == [group["metadata"]["name"] for group in groups if group] == ["quick", "quick-evaluate"]


@pytest.mark.parametrize("gang", ["none", "kueue"])
def test_only_schedulers_with_groups_of_their_own_get_one(gang: str) -> None:
    job = job_of(gang=gang, queue="npu")
    assert build_pod_group(job, training_gang(job), Settings()) is None


def test_no_pod_carries_a_mark_by_which_kueue_would_gate_and_finalize_it() -> None:
    for pod in pods_of(job_of(gang="kueue", queue="npu")):
        assert "kueue" not in str(pod)
