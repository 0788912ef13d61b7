"""The scheduler and the queue of a job's pods, the evaluator's included."""

from typing import Any

import pytest

from arcface_operator.manifests.evaluator_job import build_evaluator_job
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job


def job_of(**scheduling: Any) -> Any:
    return make_job(
        workers={"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 4},
        evaluation={"claimName": "sets"},
        scheduling=scheduling,
    )


def evaluator_of(job: Any) -> dict[str, Any]:
    return build_evaluator_job(job, job.spec.evaluation, Settings())


@pytest.mark.parametrize(
    ("scheduling", "scheduler"),
    [
        pytest.param({}, None, id="the cluster's own"),
        pytest.param({"gang": "volcano"}, "volcano", id="volcano"),
        pytest.param({"gang": "coscheduling"}, "scheduler-plugins-scheduler", id="coscheduling"),
        pytest.param({"gang": "kueue", "queue": "npu"}, None, id="kueue admits, the cluster's own places"),
        pytest.param({"gang": "volcano", "schedulerName": "volcano-npu"}, "volcano-npu", id="of another name"),
        pytest.param({"schedulerName": "volcano"}, "volcano", id="without a gang"),
    ],
)
def test_the_evaluator_asks_for_its_cards_where_the_ranks_do(scheduling: Any, scheduler: str | None) -> None:
    job = job_of(**scheduling)
    assert build_worker_pod(job, 0, 0, Settings())["spec"].get("schedulerName") == scheduler
    assert evaluator_of(job)["spec"]["template"]["spec"].get("schedulerName") == scheduler


def test_volcano_takes_the_evaluator_into_the_jobs_queue_with_its_priority() -> None:
    template = evaluator_of(job_of(gang="volcano", queue="npu", priorityClassName="high"))["spec"]["template"]
    assert template["metadata"]["annotations"] == {"scheduling.volcano.sh/queue-name": "npu"}
    assert template["spec"]["priorityClassName"] == "high"
    assert template["spec"]["containers"][0]["resources"]["limits"] == {"huawei.com/Ascend910": 1}


def test_kueue_takes_the_evaluator_by_its_jobs_label() -> None:
    evaluator = evaluator_of(job_of(gang="kueue", queue="npu"))
    assert evaluator["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "npu"
    assert "annotations" not in evaluator["spec"]["template"]["metadata"]


def test_the_evaluator_is_no_member_of_the_gang() -> None:
    for gang in ("volcano", "coscheduling"):
        metadata = evaluator_of(job_of(gang=gang, queue="npu"))["spec"]["template"]["metadata"]
        assert "scheduling.k8s.io/group-name" not in metadata.get("annotations", {})
        assert "scheduling.x-k8s.io/pod-group" not in metadata["labels"]
