"""Kubernetes' own gangs on its own scheduler: a gang has room for all of its pods, or holds none."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from arcface_api.contract.pod_environment import JOB_LABEL
from support.processes.training_jobs import TRAINS, WELL, TrainingJobs, condition
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.fake_nodes.nodes import FakeNodes

GANG = {
    "workers": {"accelerator": "ascend", "replicas": 4, "devicesPerWorker": 1},
    "training": {"precision": "fp32"},
    "scheduling": {"gang": "native"},
}
NAMES = ("one", "two")


def test_two_gangs_on_room_for_one_never_hold_half_of_it_each(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    nodes.play(jobs.namespace, TRAINS)
    begun = version(jobs)
    for name in NAMES:
        jobs.create(name, **GANG)
    wait_until(lambda: {jobs.phase(name) for name in NAMES} == {"Training", "Queued"})
    first, second = sorted(NAMES, key=lambda name: jobs.phase(name) or "", reverse=True)
    message = condition(jobs.status(second), "Ready")["message"]
    assert message.startswith("4 of 4 pods have no node"), message
    assert (bound(jobs)[first], bound(jobs)[second]) == (4, 0)
    end(jobs, nodes, first)
    jobs.wait_for("Succeeded", first)
    jobs.wait_for("Training", second)
    end(jobs, nodes, second)
    status = jobs.wait_for("Succeeded", second)
    assert (status["attempt"], status["restarts"]) == (0, 0)
    course = list(history(jobs, begun))
    assert {held[name] for held in course for name in NAMES} == set(range(5))
    assert not [held for held in course if held[first] and held[second]]


def test_a_gang_that_restarts_and_one_that_was_suspended_are_placed_whole_again(
    jobs: TrainingJobs, nodes: FakeNodes
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create(**GANG)
    jobs.wait_for("Training")
    jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/pods/quick-worker-2").raise_for_status()
    jobs.wait_until(lambda status: status.get("attempt") == 1 and status["phase"] == "Training")
    jobs.patch(suspend=True)
    jobs.wait_for("Suspended")
    wait_until(lambda: not jobs.children("podgroups", "scheduling.k8s.io/v1alpha2"))
    jobs.patch(suspend=False)
    jobs.wait_for("Training")
    assert bound(jobs)["quick"] == 4


def bound(jobs: TrainingJobs) -> Counter[str]:
    """Pods that have nodes, by their jobs."""
    return Counter(job_of(pod) for pod in jobs.pods().values() if "nodeName" in pod["spec"])


def job_of(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["labels"][JOB_LABEL]
    return name


def end(jobs: TrainingJobs, nodes: FakeNodes, name: str) -> None:
    """All ranks of a job are done."""
    for pod in [pod for pod, manifest in jobs.pods().items() if job_of(manifest) == name]:
        nodes.finish(jobs.namespace, pod, WELL)


def version(jobs: TrainingJobs) -> str:
    """The present version of the namespace's pods."""
    listed: str = answer(jobs.api.get(f"/api/v1/namespaces/{jobs.namespace}/pods"))["metadata"]["resourceVersion"]
    return listed


def history(jobs: TrainingJobs, since: str) -> Iterator[Counter[str]]:
    """Pods that held devices, by their jobs, after each change since a version."""
    query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": 1}
    holding: dict[str, str] = {}
    path = f"/api/v1/namespaces/{jobs.namespace}/pods"
    with jobs.api.stream("GET", path, params=query, timeout=httpx.Timeout(30)) as response:
        for line in response.iter_lines():
            event = json.loads(line)
            pod = event["object"]
            is_done = event["type"] == "DELETED" or pod["status"]["phase"] in {"Succeeded", "Failed"}
            if is_done or "nodeName" not in pod["spec"]:
                holding.pop(pod["metadata"]["uid"], None)
            else:
                holding[pod["metadata"]["uid"]] = job_of(pod)
            yield Counter(holding.values())
