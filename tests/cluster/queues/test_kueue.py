"""Kueue v0.17, its real manager: jobs wait in its queues without pods, are preempted, come back and leave nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, JOB_LABEL
from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import (
    EVALUATES,
    TRAINS,
    TRAINS_BRIEFLY,
    WELL,
    TrainingJobs,
    condition,
    goes_well,
)
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer, found
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Script, label_of
from testbed.schedulers.kueue import Kueue

VERSION = "kueue.x-k8s.io/v1beta2"
NPU = "huawei.com/Ascend910"
JOB: dict[str, Any] = {
    "workers": {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 1},
    "training": {"precision": "fp32"},
    "scheduling": {"gang": "kueue", "queue": "faces"},
}
SECONDS = 30.0
"""In which nothing may be left of a job that is deleted."""


def of_kueue(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


QUEUES = [
    of_kueue(
        "ResourceFlavor",
        "npu",
        {
            "nodeLabels": {"accelerator": "huawei-Ascend910"},
            "tolerations": [{"key": "npu", "operator": "Exists", "effect": "NoSchedule"}],
        },
    ),
    of_kueue(
        "ClusterQueue",
        "npu",
        {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [
                {
                    "coveredResources": [NPU],
                    "flavors": [{"name": "npu", "resources": [{"name": NPU, "nominalQuota": 2}]}],
                }
            ],
        },
    ),
    {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "urgent"},
        "value": 1000,
    },
]


@pytest.fixture(scope="module")
def kueue(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """The manager, with quota for one job."""
    with Kueue(plane, tmp_path_factory.mktemp("kueue")) as manager:
        manager.apply(QUEUES)
        yield manager


@pytest.fixture(autouse=True)
def queue(kueue: Kueue, jobs: TrainingJobs) -> None:
    """The namespace's way to the quota."""
    answer(jobs.api.post(path(jobs, "localqueues"), json=of_kueue("LocalQueue", "faces", {"clusterQueue": "npu"})))


def path(jobs: TrainingJobs, resource: str) -> str:
    return f"/apis/{VERSION}/namespaces/{jobs.namespace}/{resource}"


def workloads(jobs: TrainingJobs) -> dict[str, dict[str, Any]]:
    items = answer(jobs.api.get(path(jobs, "workloads")))["items"]
    return {item["metadata"]["name"]: item for item in items}


def holds(jobs: TrainingJobs, name: str, kind: str) -> bool:
    """Whether a condition of a Workload holds."""
    conditions = workloads(jobs)[name].get("status", {}).get("conditions", [])
    return any(item["type"] == kind and item["status"] == "True" for item in conditions)


def pods_of(jobs: TrainingJobs, name: str) -> list[str]:
    return [pod for pod, manifest in jobs.pods().items() if label_of(manifest, JOB_LABEL) == name]


def end(jobs: TrainingJobs, nodes: FakeNodes, name: str, ending: Ending = WELL) -> None:
    """All ranks of a job end."""
    for pod in pods_of(jobs, name):
        nodes.finish(jobs.namespace, pod, ending)


def first_attempts_wait(pod: dict[str, Any]) -> Script:
    """First attempts train until the test ends them, others for a moment."""
    return TRAINS if label_of(pod, ATTEMPT_LABEL) == "0" else TRAINS_BRIEFLY


def test_jobs_wait_without_pods_are_preempted_and_come_back_uncounted(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    nodes.play(jobs.namespace, first_attempts_wait)
    jobs.create("first", **JOB, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training", "first")
    for pod in jobs.pods().values():
        assert pod["spec"]["nodeSelector"]["accelerator"] == "huawei-Ascend910"
        assert {"key": "npu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]
        assert "finalizers" not in pod["metadata"]
    jobs.create("second", **JOB)
    jobs.wait_until(
        lambda status: "insufficient unused quota" in condition(status, "Ready").get("message", ""), "second"
    )
    assert (jobs.phase("second"), pods_of(jobs, "second")) == ("Queued", [])
    urgent = {**JOB, "scheduling": {**JOB["scheduling"], "priorityClassName": "urgent"}}
    jobs.create("urgent", **urgent)
    jobs.wait_for("Training", "urgent")
    assert (jobs.phase("first"), pods_of(jobs, "first"), jobs.phase("second")) == ("Queued", [], "Queued")
    assert condition(jobs.status("first"), "Training")["reason"] == "QuotaWithdrawn"
    end(jobs, nodes, "urgent")
    jobs.wait_for("Succeeded", "urgent")
    # The two that wait have the same priority; whichever comes first, the other's turn comes when it is done.
    wait_until(lambda: jobs.phase("first") == "Succeeded" or jobs.phase("second") == "Training")
    if jobs.phase("second") == "Training":
        end(jobs, nodes, "second")
    status = jobs.wait_for("Succeeded", "first")
    assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (1, 0, 0)
    if jobs.phase("second") != "Succeeded":
        jobs.wait_for("Training", "second")
        end(jobs, nodes, "second")
    jobs.wait_for("Succeeded", "second")
    wait_until(lambda: all(holds(jobs, name, "Finished") for name in ("first", "second", "urgent")))


def test_a_crash_restarts_within_its_admission(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create(**JOB)
    jobs.wait_for("Training")
    before = workloads(jobs)["quick"]
    jobs.create("other", **JOB)
    end(jobs, nodes, "quick", Ending(exit_code=1))
    jobs.wait_until(lambda status: status["attempt"] == 1 and status["phase"] == "Training")
    after = workloads(jobs)["quick"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["admission"] == before["status"]["admission"]
    assert pods_of(jobs, "other") == []


def test_a_suspended_job_gives_its_quota_to_others_and_queues_again(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create("first", **JOB)
    jobs.wait_for("Training", "first")
    jobs.create("second", **JOB)
    jobs.patch("first", suspend=True)
    jobs.wait_for("Training", "second")
    assert (jobs.phase("first"), pods_of(jobs, "first")) == ("Suspended", [])
    jobs.patch("first", suspend=False)
    jobs.wait_for("Queued", "first")
    end(jobs, nodes, "second")
    jobs.wait_for("Training", "first")


def test_both_stages_queue_and_both_are_finished(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    bind_empty_claim(jobs.api, jobs.namespace, "sets")
    nodes.play(jobs.namespace, goes_well(EVALUATES))
    jobs.create(**JOB, evaluation={"claimName": "sets", "sets": ["lfw"]})
    jobs.wait_for("Succeeded")
    wait_until(lambda: all(holds(jobs, name, "Finished") for name in ("quick", "quick-evaluate")))


def test_a_queue_that_is_not_there_is_named_by_kueue(jobs: TrainingJobs) -> None:
    jobs.create(**{**JOB, "scheduling": {"gang": "kueue", "queue": "nowhere"}})
    status = jobs.wait_until(lambda status: "doesn't exist" in condition(status, "Ready").get("message", ""))
    assert (status["phase"], jobs.pods()) == ("Queued", {})


@pytest.mark.parametrize("is_up", [True, False], ids=["operator up", "operator down"])
@pytest.mark.parametrize("what", ["job", "namespace"])
def test_nothing_is_left_of_what_is_deleted(
    jobs: TrainingJobs, nodes: FakeNodes, operator: OperatorProcess, what: str, is_up: bool
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create("runs", **JOB)
    jobs.wait_for("Training", "runs")
    jobs.create("waits", **JOB)
    jobs.wait_for("Queued", "waits")
    if not is_up:
        operator.stop()
    delete, is_gone = deletion(jobs, what)
    delete()
    try:
        wait_until(is_gone, SECONDS)
    finally:
        if not is_up:
            operator.start()
            operator.wait_until_it_leads()


def deletion(jobs: TrainingJobs, what: str) -> tuple[Callable[[], None], Callable[[], bool]]:
    """How jobs go, and whether nothing is left of them."""
    if what == "job":

        def delete() -> None:
            for name in ("runs", "waits"):
                jobs.delete(name)

        return delete, lambda: not jobs.pods() and not workloads(jobs)
    namespace = f"/api/v1/namespaces/{jobs.namespace}"
    return lambda: answer(jobs.api.delete(namespace)), lambda: found(jobs.api.get(namespace)) is None
