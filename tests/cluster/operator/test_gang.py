"""Gang schedulers as the operator meets them: their resources on a real API server, their part played by the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from support.processes.operator_process import all_established
from support.processes.training_jobs import TRAINS, TrainingJobs, condition, goes_well
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import MERGE, shell_pod
from testbed.fake_nodes.nodes import FakeNodes
from testbed.schedulers.gang_resources import pod_group_definitions
from testbed.schedulers.stand_in import NO_ROOM, REFUSAL, VOLCANO, GangScheduler, volcano_webhook

pytestmark = pytest.mark.usefixtures("operator")
ASCEND = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 4}
FP32 = {"precision": "fp32"}
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def pod_groups(plane: ControlPlane) -> Iterator[None]:
    """Both PodGroup resources."""
    definitions = yaml.safe_dump_all(pod_group_definitions())
    plane.kubectl("apply", "-f", "-", stdin=definitions)
    wait_until(lambda: all_established(plane))
    yield
    plane.kubectl("delete", "--timeout=60s", "-f", "-", stdin=definitions)


@pytest.fixture
def webhook(plane: ControlPlane, pod_groups: None) -> Iterator[None]:
    """Volcano's, which refuses the pods of groups that are not queued."""
    policy = yaml.safe_dump_all(volcano_webhook("quick"))
    plane.kubectl("apply", "-f", "-", stdin=policy)
    pod = shell_pod("probe", "true", schedulerName="volcano")
    # The API server takes its time to heed a new policy.
    wait_until(lambda: not plane.admin.post(PODS, params={"dryRun": "All"}, json=pod).is_success)
    yield
    plane.kubectl("delete", "--timeout=60s", "-f", "-", stdin=policy)


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


@pytest.mark.usefixtures("webhook")
def test_a_gang_that_volcano_refuses_queues_places_and_preempts_is_not_counted(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(
        workers=ASCEND, training=FP32, scheduling={"gang": "volcano", "queue": "faces"}, runPolicy={"backoffLimit": 0}
    )
    scheduler = GangScheduler(jobs.api, jobs.namespace, VOLCANO, "quick")
    for attempt in range(2):
        status = jobs.wait_until(lambda status: REFUSAL in condition(status, "Ready").get("message", ""))
        assert (condition(status, "Ready")["reason"], jobs.pods()) == ("Refused", {})
        scheduler.move_to("Inqueue")
        wait_until(lambda: len(jobs.pods()) == 2)
        scheduler.find_no_room(sorted(jobs.pods()))
        jobs.wait_until(lambda status: NO_ROOM in condition(status, "Ready").get("message", ""))
        assert jobs.phase() == "Queued"
        if attempt == 1:
            fake_nodes.play(jobs.namespace, goes_well())
        scheduler.place(sorted(jobs.pods()), fake_nodes.names[:2])
        scheduler.move_to("Running")
        if attempt == 0:
            jobs.wait_for("Training")
            scheduler.move_to("Pending")
            scheduler.preempt(sorted(jobs.pods()))
    status = jobs.wait_for("Succeeded")
    assert (status["attempt"], status["countedRestarts"]) == (1, 0)


@pytest.mark.usefixtures("pod_groups")
def test_a_gang_that_the_coscheduling_plugin_finds_no_room_for_holds_nothing(
    jobs: TrainingJobs, fake_nodes: FakeNodes
) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(workers=ASCEND, training=FP32, scheduling={"gang": "coscheduling"}, runPolicy={"backoffLimit": 0})
    scheduler = GangScheduler(jobs.api, jobs.namespace, "scheduling.x-k8s.io/v1alpha1", "quick")
    wait_until(lambda: len(jobs.pods()) == 2)
    for phase in ("PreScheduling", "Scheduling"):
        scheduler.move_to(phase)
        scheduler.find_no_room(sorted(jobs.pods()))
        jobs.wait_until(lambda status: NO_ROOM in condition(status, "Ready").get("message", ""))
        assert jobs.phase() == "Queued"
    scheduler.place(sorted(jobs.pods()), fake_nodes.names[:2])
    status = jobs.wait_for("Succeeded")
    assert (status["attempt"], status["countedRestarts"]) == (0, 0)


@pytest.mark.usefixtures("pod_groups")
def test_a_finalizer_that_keeps_a_pod_or_a_group_is_named(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(workers=ASCEND, training=FP32, scheduling={"gang": "volcano", "queue": "faces"})
    wait_until(lambda: len(jobs.pods()) == 2)
    pod = f"/api/v1/namespaces/{jobs.namespace}/pods/quick-worker-1"
    podgroup = f"/apis/{VOLCANO}/namespaces/{jobs.namespace}/podgroups/quick"
    with kept(jobs, podgroup, "example.com/report"):
        with kept(jobs, pod, "example.com/audit"):
            scheduler = GangScheduler(jobs.api, jobs.namespace, VOLCANO, "quick")
            scheduler.place(sorted(jobs.pods()), fake_nodes.names[:2])
            jobs.wait_for("Training")
            jobs.patch(suspend=True)
            said = "pod quick-worker-1 has left, finalizer example.com/audit keeps it"
            group_said = "group quick waits on its finalizers example.com/report"
            for sentence in (said, group_said):
                jobs.wait_until(lambda status, it=sentence: it in condition(status, "Suspended").get("message", ""))
            jobs.patch(suspend=False)
            jobs.wait_until(lambda status: said in condition(status, "Ready").get("message", ""))
        said = "PodGroup quick is being deleted, for which it waits on its finalizers example.com/report"
        jobs.wait_until(lambda status: said in condition(status, "Ready").get("message", ""))
    wait_until(lambda: len(jobs.pods()) == 2)


@contextmanager
def kept(jobs: TrainingJobs, path: str, finalizer: str) -> Iterator[None]:
    """An object that a finalizer keeps for a while."""
    answer(jobs.api.patch(path, json={"metadata": {"finalizers": [finalizer]}}, headers=MERGE))
    try:
        yield
    finally:
        answer(jobs.api.patch(path, json={"metadata": {"finalizers": []}}, headers=MERGE))
