"""Gang schedulers as the operator meets them: their resources on a real API server, their part played by the test."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.processes.training_jobs import TrainingJobs, condition
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.schedulers.gang_resources import pod_group_definitions

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


@pytest.mark.parametrize("gang", ["volcano", "coscheduling", "kueue"])
def test_a_gang_scheduler_that_is_not_there_is_named(jobs: TrainingJobs, gang: str) -> None:
    jobs.create(scheduling={"gang": gang, "queue": "faces"})
    status = jobs.wait_until(lambda status: condition(status, "Ready"))
    assert condition(status, "Ready")["reason"] == "GangSchedulerMissing"
    assert f"install {gang}" in condition(status, "Ready")["message"]
    assert not jobs.pods()
