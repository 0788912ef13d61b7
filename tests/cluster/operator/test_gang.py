"""Gang schedulers as the operator meets them: their resources on a real API server, their part played by the test."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.processes.training_jobs import TRAINS, TrainingJobs, condition, goes_well
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.nodes import FakeNodes
from testbed.schedulers.gang_resources import KUEUE_GATE, kueue_hold, pod_group_definitions

pytestmark = pytest.mark.usefixtures("operator")
ASCEND = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 4}
FP32 = {"precision": "fp32"}


@pytest.fixture
def pod_groups(plane: ControlPlane) -> Iterator[None]:
    """Both PodGroup resources."""
    definitions = yaml.safe_dump_all(pod_group_definitions())
    plane.kubectl("apply", "-f", "-", stdin=definitions)
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    yield
    plane.kubectl("delete", "-f", "-", stdin=definitions)


@pytest.fixture
def kueue(plane: ControlPlane, jobs: TrainingJobs) -> Iterator[None]:
    """Kueue's hold on pods with a queue; it works once a trial pod is gated."""
    policy = yaml.safe_dump_all(kueue_hold())
    plane.kubectl("apply", "-f", "-", stdin=policy)

    def is_gated() -> bool:
        metadata = {"name": "trial", "labels": {"kueue.x-k8s.io/queue-name": "trial"}}
        pod = {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "none"}]}}
        path = f"/api/v1/namespaces/{jobs.namespace}/pods"
        made = jobs.api.post(path, json=pod, params={"dryRun": "All"}).json()
        return bool(made["spec"].get("schedulingGates"))

    wait_until(is_gated)
    yield
    plane.kubectl("delete", "-f", "-", stdin=policy)


def group(jobs: TrainingJobs, version: str) -> dict[str, Any]:
    path = f"/apis/{version}/namespaces/{jobs.namespace}/podgroups/quick"
    found: dict[str, Any] = jobs.api.get(path).raise_for_status().json()
    return found


@pytest.mark.usefixtures("pod_groups")
def test_volcano_gets_its_group_and_the_pods(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    jobs.create(workers=ASCEND, training=FP32, scheduling={"gang": "volcano", "queue": "faces"})
    wait_until(lambda: len(jobs.pods()) == 2)
    found = group(jobs, "scheduling.volcano.sh/v1beta1")
    assert found["spec"] == {"minMember": 2, "queue": "faces", "minResources": {"huawei.com/Ascend910": 8}}
    assert found["metadata"]["ownerReferences"][0]["name"] == "quick"
    for pod in jobs.pods().values():
        assert pod["spec"]["schedulerName"] == "volcano"
        assert pod["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == "quick"


@pytest.mark.usefixtures("pod_groups")
def test_coscheduling_gets_its_group_and_the_pods(jobs: TrainingJobs) -> None:
    jobs.create(workers=ASCEND, training=FP32, scheduling={"gang": "coscheduling"})
    wait_until(lambda: len(jobs.pods()) == 2)
    found = group(jobs, "scheduling.x-k8s.io/v1alpha1")
    assert found["spec"]["minMember"] == 2
    assert found["spec"]["scheduleTimeoutSeconds"] == 60
    for pod in jobs.pods().values():
        assert pod["spec"]["schedulerName"] == "scheduler-plugins-scheduler"
        assert pod["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "quick"


@pytest.mark.usefixtures("pod_groups")
def test_a_suspended_gang_holds_no_group(jobs: TrainingJobs) -> None:
    jobs.create(workers=ASCEND, training=FP32, scheduling={"gang": "volcano", "queue": "faces"})
    wait_until(lambda: len(jobs.pods()) == 2)
    jobs.patch(suspend=True)
    wait_until(lambda: not jobs.pods())
    path = f"/apis/scheduling.volcano.sh/v1beta1/namespaces/{jobs.namespace}/podgroups"
    wait_until(lambda: jobs.api.get(path).raise_for_status().json()["items"] == [])
    jobs.patch(suspend=False)
    wait_until(lambda: len(jobs.pods()) == 2)
    assert group(jobs, "scheduling.volcano.sh/v1beta1")["spec"]["minMember"] == 2


@pytest.mark.parametrize("gang", ["volcano", "coscheduling"])
def test_a_gang_scheduler_that_is_not_there_is_named(jobs: TrainingJobs, gang: str) -> None:
    jobs.create(scheduling={"gang": gang})
    status = jobs.wait_until(lambda status: condition(status, "Ready"))
    assert condition(status, "Ready")["reason"] == "GangSchedulerMissing"
    assert f"install {gang}" in condition(status, "Ready")["message"]
    assert not jobs.pods()


@pytest.mark.usefixtures("kueue")
def test_kueue_holds_admits_preempts_and_admits_again(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(
        workers={"replicas": 2},
        scheduling={"gang": "kueue", "queue": "faces"},
        runPolicy={"backoffLimit": 0},
    )
    wait_until(lambda: len(jobs.pods()) == 2)
    for pod in jobs.pods().values():
        labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
        assert labels["kueue.x-k8s.io/queue-name"] == "faces"
        assert labels["kueue.x-k8s.io/pod-group-name"] == "quick-0"
        assert annotations["kueue.x-k8s.io/pod-group-total-count"] == "2"
    admit(jobs)
    jobs.wait_for("Training")
    for name in jobs.pods():  # preemption: Kueue deletes the pods and never makes new ones
        jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/{name}")
    wait_until(lambda: {groups_of(pod) for pod in jobs.pods().values()} == {"quick-1"} and len(jobs.pods()) == 2)
    fake_nodes.play(jobs.namespace, goes_well())
    admit(jobs)
    status = jobs.wait_for("Succeeded")
    assert (status["restarts"], status["countedRestarts"]) == (1, 0)


def groups_of(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["labels"]["kueue.x-k8s.io/pod-group-name"]
    return name


def admit(jobs: TrainingJobs) -> None:
    """Take the gates away, as Kueue does once there is quota for the group."""
    for name, pod in jobs.pods().items():
        assert [gate["name"] for gate in pod["spec"]["schedulingGates"]] == [KUEUE_GATE]
        path = f"/api/v1/namespaces/{jobs.namespace}/pods/{name}"
        jobs.api.patch(path, json={"spec": {"schedulingGates": []}}, headers=MERGE).raise_for_status()
