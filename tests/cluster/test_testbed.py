"""The control plane and the fake nodes that the other tests of this folder stand on."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_api.names import ASCEND_910
from support.waiting import wait_until
from testbed.ascend.annotations import CONFIGURATION
from testbed.control_plane.api_answers import answer, found
from testbed.control_plane.pods import Pods
from testbed.fake_nodes.scripts import NEVER_PULLED, Devices, Ending, Script, by_rank

KEPT = "testbed.test/kept"
"""Finalizer that shows a pod after its end; without it the API server forgets a deleted pod at once."""


def pod(name: str, devices: int = 0, **metadata: Any) -> dict[str, Any]:
    """A pod that asks for devices."""
    container = {"name": "trainer", "image": "trainer:1", "resources": {"limits": {ASCEND_910: devices}}}
    return {"metadata": {"name": name, **metadata}, "spec": {"restartPolicy": "Never", "containers": [container]}}


@pytest.fixture
def pods(api: httpx.Client, namespace: str) -> Pods:
    return Pods(api, namespace)


def listed(pods: Pods) -> list[dict[str, Any]]:
    return answer(pods.api.get(pods.path))["items"]


def phases(pods: Pods) -> Counter[str]:
    return Counter(pod["status"]["phase"] for pod in listed(pods))


def condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((item for item in thing["status"].get("conditions", []) if item["type"] == kind), {})


def state(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["status"]["containerStatuses"][0]["state"]


def devices(pod: dict[str, Any]) -> Any:
    """The device plugin's annotation; None before it is written."""
    text = pod["metadata"].get("annotations", {}).get(CONFIGURATION)
    return None if text is None else json.loads(text)


def progress(step: int) -> dict[str, Any]:
    return {"progress": {"epoch": 0, "step": step, "totalSteps": 9, "updatedAt": "2026-01-01T00:00:00Z"}}


def let_go(pods: Pods, name: str) -> None:
    patch = json.dumps({"metadata": {"finalizers": None}})
    answer(
        pods.api.patch(f"{pods.path}/{name}", content=patch, headers={"Content-Type": "application/merge-patch+json"})
    )


def test_the_api_server_reports_the_version_that_was_built(control_plane):
    version = json.loads(control_plane.kubectl("version", "--output", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == "v1.36.3"


def test_a_user_has_a_kubeconfig_and_the_rights_it_was_given(control_plane, namespace):
    kubeconfig = str(control_plane.kubeconfig("alice", ["developers"]))
    asked = ["--kubeconfig", kubeconfig, "auth", "can-i", "list", "pods", "--namespace", namespace]
    binding = ["create", "rolebinding", "developers", "--clusterrole=view", "--group=developers"]
    control_plane.kubectl(*binding, "--namespace", namespace)
    wait_until(lambda: control_plane.kubectl(*asked).strip() == "yes")


def test_a_token_is_that_of_its_service_account(control_plane, namespace):
    review = httpx.post(
        f"{control_plane.url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        headers={"Authorization": f"Bearer {control_plane.token(namespace, 'default')}"},
        verify=control_plane.authority_only(),
    )
    assert answer(review)["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"


def test_the_audit_log_tells_who_asked_for_what(control_plane, namespace):
    began = control_plane.audit_log.size()
    with control_plane.client("mallory", ()) as client:
        refusal = client.post(f"/api/v1/namespaces/{namespace}/pods", json=pod("intruder"))
    assert refusal.status_code == httpx.codes.FORBIDDEN
    (request,) = control_plane.audit(began, user="mallory")
    told = {"verb": "create", "is_write": True, "resource": "pods", "namespace": namespace, "code": 403}
    assert told.items() <= request.items()


def test_pods_spread_over_all_devices_and_one_too_many_waits(fake_nodes, pods):
    for number in range(64):
        pods.create(pod(f"rank-{number}", devices=1))
    wait_until(lambda: phases(pods) == {"Running": 64})
    assert set(Counter(pod["spec"]["nodeName"] for pod in listed(pods)).values()) == {8}
    pods.create(pod("late", devices=8))
    wait_until(lambda: condition(pods.read("late"), "PodScheduled").get("status") == "False")
    assert f"8 Insufficient {ASCEND_910}" in condition(pods.read("late"), "PodScheduled")["message"]


def test_the_device_plugin_gives_no_device_of_a_node_twice(fake_nodes, pods):
    for number in range(16):
        pods.create(pod(f"rank-{number}", devices=4))
    wait_until(lambda: all(devices(pod) for pod in listed(pods)))
    given = [(devices(pod)["server_id"], item["device_id"]) for pod in listed(pods) for item in devices(pod)["devices"]]
    addresses = {item["device_ip"] for pod in listed(pods) for item in devices(pod)["devices"]}
    assert set(given) == set(itertools.product({server for server, _ in given}, map(str, range(8))))
    assert len(given) == len(addresses) == 64


def test_devices_are_free_again_when_their_pod_has_ended(fake_nodes, pods, namespace):
    fake_nodes.play(namespace, Script(runs=0))
    for number in range(24):
        pods.create(pod(f"rank-{number}", devices=8))
    wait_until(lambda: phases(pods) == {"Succeeded": 24})
    assert all(len(devices(pod)["devices"]) == 8 for pod in listed(pods))


def test_the_device_plugin_can_know_less_than_all(fake_nodes, pods, namespace):
    fake_nodes.play(namespace, Script(devices=Devices(generation="7.3", withheld=1, without_address=2)))
    pods.create(pod("rank-0", devices=8))
    wait_until(lambda: devices(pods.read("rank-0")))
    seen = pods.read("rank-0")
    assert devices(seen)["server_id"] == seen["metadata"]["uid"]
    assert [item["device_ip"] == "-1" for item in devices(seen)["devices"]] == [True, True, *[False] * 5]


def test_a_pod_ends_by_itself_with_its_report(fake_nodes, pods, namespace):
    report = TrainerReport.model_validate_json(json.dumps(progress(7)))
    fake_nodes.play(namespace, Script(runs=0, ending=Ending(message=report)))
    pods.create(pod("rank-0"))
    ended = pods.wait_for("rank-0", "Succeeded")
    assert TrainerReport.from_json(state(ended)["terminated"]["message"], "pod") == report
    assert condition(ended, "Ready")["status"] == "False"


def test_each_rank_has_its_own_script_and_ends_when_the_test_says(fake_nodes, pods, namespace):
    fake_nodes.play(namespace, by_rank({1: Script(runs=0, ending=Ending(exit_code=3, message="NaN"))}))
    for rank in range(3):
        pods.create(pod(f"rank-{rank}", labels={"arcface.io/rank-index": str(rank)}))
    wait_until(lambda: phases(pods) == {"Running": 2, "Failed": 1})
    assert pods.ending("rank-1")["exitCode"] == 3
    fake_nodes.finish(namespace, "rank-0", Ending(exit_code=137, reason="OOMKilled"))
    pods.wait_for("rank-0", "Failed")
    assert pods.ending("rank-0")["reason"] == "OOMKilled"


def test_an_image_that_cannot_be_pulled_keeps_a_pod_waiting_until_it_can(fake_nodes, pods, namespace):
    fake_nodes.play(namespace, NEVER_PULLED)
    pods.create(pod("rank-0"))
    wait_until(lambda: "containerStatuses" in pods.read("rank-0")["status"])
    assert state(pods.read("rank-0"))["waiting"]["reason"] == "ImagePullBackOff"
    fake_nodes.start(namespace, "rank-0")
    pods.wait_for("rank-0", "Running")


def test_an_evicted_pod_says_that_the_cluster_did_it(fake_nodes, pods, namespace):
    pods.create(pod("rank-0"))
    pods.wait_for("rank-0", "Running")
    fake_nodes.evict(namespace, "rank-0")
    evicted = pods.wait_for("rank-0", "Failed")
    assert evicted["status"]["reason"] == "Evicted"
    assert condition(evicted, "DisruptionTarget")["status"] == "True"
    assert condition(evicted, "PodScheduled")["status"] == "True"


@pytest.mark.parametrize(
    ("script", "exit_code"),
    [
        pytest.param(Script(), 143, id="ends on SIGTERM"),
        pytest.param(Script(stopped=Ending(message="saved")), 0, id="ends well on SIGTERM"),
        pytest.param(Script(stops=None), 137, id="is killed after its grace period"),
    ],
)
def test_a_deleted_pod_is_told_to_stop(fake_nodes, pods, namespace, script, exit_code):
    fake_nodes.play(namespace, script)
    pods.create(pod("rank-0", finalizers=[KEPT]))
    pods.wait_for("rank-0", "Running")
    answer(pods.api.delete(f"{pods.path}/rank-0", params={"gracePeriodSeconds": 1}))
    wait_until(lambda: "terminated" in state(pods.read("rank-0")))
    assert pods.ending("rank-0")["exitCode"] == exit_code
    let_go(pods, "rank-0")
    wait_until(lambda: found(pods.api.get(f"{pods.path}/rank-0")) is None)


def test_a_pod_that_never_ran_goes_without_an_end(fake_nodes, pods, namespace):
    fake_nodes.play(namespace, NEVER_PULLED)
    pods.create(pod("rank-0"))
    wait_until(lambda: "containerStatuses" in pods.read("rank-0")["status"])
    pods.delete("rank-0", grace_seconds=30)


def test_a_pod_of_a_lost_node_stays_until_the_node_is_back(fake_nodes, pods, namespace, api):
    pods.create(pod("rank-0"))
    node = pods.wait_for("rank-0", "Running")["spec"]["nodeName"]
    fake_nodes.lose(node)
    assert condition(answer(api.get(f"/api/v1/nodes/{node}")), "Ready")["status"] == "Unknown"
    wait_until(lambda: condition(pods.read("rank-0"), "Ready")["status"] == "False")
    answer(api.delete(f"{pods.path}/rank-0", params={"gracePeriodSeconds": 1}))
    pods.create(pod("rank-1"))
    pods.wait_for("rank-1", "Running")
    assert "deletionTimestamp" in pods.read("rank-0")["metadata"]
    fake_nodes.restore(node)
    wait_until(lambda: found(api.get(f"{pods.path}/rank-0")) is None)


def test_a_running_pod_tells_its_progress_at_its_own_address(fake_nodes, pods, namespace):
    later = Script(progress=lambda seconds: progress(8 if seconds < 600 else 9))
    fake_nodes.play(namespace, by_rank({0: Script(progress=progress(7))}, others=later))
    for rank in range(2):
        pods.create(pod(f"rank-{rank}", labels={"arcface.io/rank-index": str(rank)}))
    urls = [
        f"http://{pods.wait_for(f'rank-{rank}', 'Running')['status']['podIP']}:{METRICS_PORT}/progress"
        for rank in range(2)
    ]
    assert [TrainerReport.from_json(httpx.get(url).content, url).progress.step for url in urls] == [7, 8]
    fake_nodes.finish(namespace, "rank-0")
    pods.wait_for("rank-0", "Succeeded")
    with pytest.raises(httpx.ConnectError):
        httpx.get(urls[0])


def test_the_pod_of_a_job_completes_it(fake_nodes, pods, namespace, api):
    fake_nodes.play(namespace, Script(runs=0))
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    template = {"spec": pod("unnamed")["spec"]}
    answer(api.post(jobs, json={"metadata": {"name": "evaluate"}, "spec": {"template": template}}))
    wait_until(lambda: condition(answer(api.get(f"{jobs}/evaluate")), "Complete").get("status") == "True")


def test_fake_nodes_go_on_when_the_api_server_was_away(control_plane, fake_nodes, pods, namespace):
    pods.create(pod("before"))
    pods.wait_for("before", "Running")
    control_plane.restart_api_server()
    pods.create(pod("after"))
    pods.wait_for("after", "Running")
    fake_nodes.finish(namespace, "before")
    pods.wait_for("before", "Succeeded")


def test_a_scheduler_that_has_died_is_started_again(control_plane, fake_nodes, pods):
    scheduler = control_plane.servers["kube-scheduler"]
    died = scheduler.process
    died.kill()
    wait_until(lambda: scheduler.process is not died)
    pods.create(pod("after"))
    pods.wait_for("after", "Running")


STARTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from testbed.programs.processes import ServerProcess

server = ServerProcess("sleeper", ["sleep", "600"], Path(sys.argv[1]))
server.start()
server.wait_for(lambda: Path(f"/proc/{server.process.pid}/cmdline").read_text().startswith("sleep"))
print(server.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_servers_end_with_tests_that_are_killed(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", STARTS_AND_DIES, str(tmp_path / "log")]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL
    wait_until(lambda: not is_running(int(died.stdout)))


def is_running(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before the file was opened, and after
        return False
