"""What is read of Kueue's objects, and what is said where they are not to be had."""

import asyncio
from typing import Any

import pytest

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.kubernetes.client import ApiError
from arcface_operator.kubernetes.queues import QueueReader
from arcface_operator.manifests.worker_pod import build_worker_pod, training_gang
from arcface_operator.manifests.workload import PRIORITY_LABEL, QueueView, build_workload, view_workload
from support.builders.jobs import make_job
from support.builders.views import SETTINGS

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
TOLERATION = {"key": "npu", "operator": "Exists"}
FLAVOURS = {
    f"{KUEUE}/resourceflavors/npu": {"spec": {"nodeLabels": {"pool": "npu"}, "tolerations": [TOLERATION]}},
    f"{KUEUE}/resourceflavors/any": {"spec": {}},
}
ADMITTED = {"type": "Admitted", "status": "True", "reason": "Admitted", "message": ""}


class Server:
    """Answers with what is at a path, 403 where it says so, and notes what was asked for."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects, self.asked = {KUEUE: {}, **objects}, list[str]()

    async def find(self, path: str) -> Any:
        self.asked.append(path)
        if self.objects.get(path) == "forbidden":
            raise ApiError(403, "forbidden")
        return self.objects.get(path)


class Workloads:
    """The Workloads that a watch has seen."""

    def __init__(self, *views: Any) -> None:
        self.views, self.is_started = views, False

    def start(self, _tasks: Any) -> None:
        self.is_started = True

    async def has_listed(self, _namespace: str) -> bool:
        while not self.is_started:
            await asyncio.sleep(0)
        return True

    def of(self, _ref: Any) -> list[Any]:
        return list(self.views)


def job_of(phase: Any = "Queued", labels: dict[str, str] | None = None, **scheduling: Any) -> Any:
    job = make_job(uid="1", scheduling={"gang": "kueue", "queue": "npu", **scheduling})
    metadata = job.metadata.model_copy(update={"labels": labels or {}})
    return job.model_copy(update={"metadata": metadata, "status": ArcFaceTrainingJobStatus(phase=phase)})


def workload(job: Any, owner: str = "1", checks: Any = (), **assignment: Any) -> Any:
    manifest = build_workload(job, training_gang(job), build_worker_pod(job, 0, 0, SETTINGS), None, None)
    manifest["metadata"] |= {"uid": "w", "resourceVersion": "7"}
    manifest["metadata"]["ownerReferences"][0]["uid"] = owner
    admission = {"podSetAssignments": [{"name": "main", "flavors": {"cpu": "npu", "memory": "any"}, **assignment}]}
    manifest["status"] = {"admission": admission, "admissionChecks": list(checks), "conditions": [ADMITTED]}
    return view_workload(manifest)


def read(job: Any, server: Server, *views: Any) -> QueueView | None:
    async def play() -> QueueView | None:
        seen: Any = Workloads(*views)
        api: Any = server
        reader = QueueReader(api, seen)
        watching = asyncio.create_task(reader.run())
        try:
            return await reader.read(job)
        finally:
            watching.cancel()

    return asyncio.run(play())


def test_nothing_is_asked_for_a_job_that_goes_past_kueue() -> None:
    server = Server({})
    assert read(make_job(), server) is None
    assert server.asked == []


def test_a_cluster_without_kueue_is_not_watched() -> None:
    server = Server({KUEUE: None})
    assert read(job_of(), server) is None


def test_pods_go_where_the_flavours_and_the_checks_want_them() -> None:
    job = job_of()
    update = {"name": "main", "nodeSelector": {"rack": "7"}, "annotations": {"provisioned": "yes"}}
    found = read(job, Server(FLAVOURS), workload(job, checks=[{"name": "prov", "podSetUpdates": [update]}]))
    assert found is not None
    assert found.placement is not None
    assert found.placement.node_selector == {"pool": "npu", "rack": "7"}
    assert found.placement.tolerations == (TOLERATION,)
    assert found.placement.annotations == {"provisioned": "yes"}


def test_a_workload_of_a_namesake_is_not_the_jobs() -> None:
    job = job_of()
    found = read(job, Server(FLAVOURS), workload(job, owner="another"))
    assert found is not None
    assert found.workloads == {}


def test_flavours_are_asked_for_only_while_pods_may_be_made() -> None:
    job, server = job_of("Training"), Server(FLAVOURS)
    found = read(job, server, workload(job))
    assert found is not None
    assert (sorted(found.workloads), found.placement) == (["worker"], None)
    assert server.asked == [KUEUE]


@pytest.mark.parametrize(
    ("labels", "path", "kind"),
    [
        pytest.param({}, "/apis/scheduling.k8s.io/v1/priorityclasses/high", "PriorityClass", id="of the pods"),
        pytest.param(
            {PRIORITY_LABEL: "high"}, f"{KUEUE}/workloadpriorityclasses/high", "WorkloadPriorityClass", id="of Kueue"
        ),
    ],
)
def test_kueue_is_told_the_priority_by_name_and_number(labels: Any, path: str, kind: str) -> None:
    job = job_of(labels=labels, priorityClassName="high")
    found = read(job, Server({path: {"value": 7}}))
    assert found is not None
    assert found.priority is not None
    assert (found.priority.kind, found.priority.name, found.priority.value) == (kind, "high", 7)
    spec = build_workload(job, training_gang(job), build_worker_pod(job, 0, 0, SETTINGS), found.priority, None)["spec"]
    assert (spec["priority"], spec["priorityClassRef"]["kind"]) == (7, kind)


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ({}, "there is no ResourceFlavor 'npu'; create it"),
        (
            {f"{KUEUE}/resourceflavors/npu": "forbidden"},
            "the operator may not read ResourceFlavor npu; give its role `get` on resourceflavors",
        ),
    ],
)
def test_what_is_not_to_be_had_is_said_with_the_remedy(objects: Any, sentence: str) -> None:
    job = job_of()
    queued = workload(job)
    found = read(job, Server(objects), queued)
    assert found is not None
    assert (found.placement, found.problem) == (None, f"Workload {queued.name}: {sentence}")


def test_a_priority_class_that_is_not_there_is_named_with_its_field() -> None:
    found = read(job_of(priorityClassName="high"), Server({}))
    assert found is not None
    assert found.problem == "spec.scheduling.priorityClassName: there is no PriorityClass 'high'; create it"


def test_a_flavour_with_a_topology_is_refused_in_words() -> None:
    job = job_of()
    found = read(job, Server(FLAVOURS), workload(job, topologyAssignment={"levels": ["rack"]}))
    assert found is not None
    assert "topology, which is not supported" in str(found.problem)
