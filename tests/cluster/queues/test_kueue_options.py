"""Kueue v0.17 as administrators may set it up: waiting for ready pods, and taking every pod by a `default` queue."""

from collections.abc import Iterator
from typing import Any

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, JOB_LABEL
from arcface_api.names import GROUP, KIND, PLURAL
from support.processes.training_jobs import TRAINS, WELL, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import NEVER_STARTED, Ending, Manifest, Script, label_of
from testbed.schedulers.kueue import ACCOUNT, NAMESPACE, Kueue
from testbed.schedulers.kueue_objects import FLAVOUR, Workloads, cluster_queue

RBAC = "rbac.authorization.k8s.io"
OPTIONS: dict[str, Any] = {
    "waitForPodsReady": {
        "timeout": "4s",
        "requeuingStrategy": {"timestamp": "Eviction", "backoffBaseSeconds": 1, "backoffMaxSeconds": 1},
    },
    "integrations": {"frameworks": ["pod"], "externalFrameworks": [f"{KIND}.v1alpha1.{GROUP}"]},
}
READS_JOBS = [
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "kueue-reads-jobs"},
        "rules": [{"apiGroups": [GROUP], "resources": [PLURAL], "verbs": ["get", "list", "watch"]}],
    },
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "kueue-reads-jobs"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "kueue-reads-jobs"},
    },
]


@pytest.fixture(scope="module")
def kueue(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """The manager with these options, which the documentation tells administrators of, and quota for two jobs."""
    with Kueue(plane, tmp_path_factory.mktemp("kueue"), **OPTIONS) as manager:
        manager.apply([*READS_JOBS, FLAVOUR, cluster_queue("one"), cluster_queue("two")])
        yield manager


@pytest.fixture
def workloads(kueue: Kueue, jobs: TrainingJobs) -> Iterator[Workloads]:
    """Those of the test's namespace; all quota is free again for the next test."""
    workloads = Workloads(jobs.api, jobs.namespace)
    yield workloads
    answer(jobs.api.delete(jobs.path))
    wait_until(lambda: not workloads.all())


def spec(queue: str | None) -> dict[str, Any]:
    """A job of two cards, by a queue of Kueue or by none."""
    scheduling = {"gang": "none"} if queue is None else {"gang": "kueue", "queue": queue}
    workers = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 1}
    return {"workers": workers, "training": {"precision": "fp32"}, "scheduling": scheduling}


def end(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    """All ranks end well."""
    for name in jobs.pods():
        nodes.finish(jobs.namespace, name, WELL)


def test_a_gang_that_is_not_ready_in_time_queues_again_and_one_that_is_keeps_its_quota(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    def choose(pod: Manifest) -> Script:
        is_late = label_of(pod, JOB_LABEL) == "late" and label_of(pod, ATTEMPT_LABEL) == "0"
        return NEVER_STARTED if is_late else TRAINS

    nodes.play(jobs.namespace, choose)
    for queue in ("one", "two"):
        workloads.add_queue(queue, queue)
    jobs.create("ready", **spec("one"))
    wait_until(lambda: "ready" in workloads.all() and workloads.holds("ready", "PodsReady"))
    before = jobs.status("ready")["attempt"]
    jobs.create("late", **spec("two"), runPolicy={"backoffLimit": 0})
    jobs.wait_until(lambda status: status.get("attempt", 0) > 0 and status["phase"] == "Training", "late")
    wait_until(lambda: workloads.holds("late", "PodsReady"))
    status = jobs.status("late")
    assert workloads.all()["late"]["status"]["requeueState"]["count"] >= status["attempt"]
    assert (status["restarts"], status["countedRestarts"]) == (0, 0)
    # It has run for longer than the other was waited for.
    assert (jobs.phase("ready"), jobs.status("ready")["attempt"]) == ("Training", before)


def test_a_gang_that_does_not_recover_in_time_gives_its_quota_back_and_trains_once_it_has_room_again(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    """Kueue counts from its condition `WaitForRecovery`, and with `timeout` where no `recoveryTimeout` is given."""

    def choose(pod: Manifest) -> Script:
        return NEVER_STARTED if label_of(pod, ATTEMPT_LABEL) == "1" else TRAINS

    nodes.play(jobs.namespace, choose)
    workloads.add_queue("one", "one")
    jobs.create(**spec("one"))
    wait_until(lambda: "quick" in workloads.all() and workloads.holds("quick", "PodsReady"))
    assert jobs.status()["attempt"] == 0
    for name in jobs.pods():
        nodes.finish(jobs.namespace, name, Ending(exit_code=1))
    jobs.wait_until(lambda status: status["attempt"] == 1 and bool(jobs.pods()))
    jobs.wait_until(lambda status: status["attempt"] > 1 and status["phase"] == "Training")
    wait_until(lambda: workloads.holds("quick", "PodsReady"))
    status, workload = jobs.status(), workloads.all()["quick"]["status"]
    assert workload["requeueState"]["count"] >= status["attempt"] - 1
    assert (status["restarts"], status["countedRestarts"]) == (1, 1), "what Kueue takes back counts for nothing"


def test_a_labelled_job_is_taken_once_where_a_queue_is_the_default(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    workloads.add_queue("default", "one")
    jobs.create(**spec("default"), suspend=True)
    labels = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "default"}}}
    answer(jobs.api.patch(f"{jobs.path}/quick", json=labels, headers=MERGE))
    jobs.patch(suspend=False)
    jobs.wait_for("Training")
    assert list(workloads.all()) == ["quick"]
    assert not any("finalizers" in pod["metadata"] for pod in jobs.pods().values())
    end(jobs, nodes)
    jobs.wait_for("Succeeded")


def test_pods_of_a_job_without_a_queue_are_taken_one_by_one_where_a_queue_is_the_default(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    workloads.add_queue("default", "one")
    jobs.create(**spec(None))
    jobs.wait_for("Training")
    assert len(workloads.all()) == 2
    assert all(pod["metadata"]["finalizers"] == ["kueue.x-k8s.io/managed"] for pod in jobs.pods().values())
    jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/quick-worker-1")
    jobs.wait_until(lambda status: status["attempt"] == 1 and status["phase"] == "Training")
    end(jobs, nodes)
    jobs.wait_for("Succeeded")
    jobs.delete()
    wait_until(lambda: not jobs.pods())
