"""Objects that are not the job's own, and its own in a shape that nobody expects."""

import httpx
import pytest

from support.processes.training_jobs import TRAINS, TrainingJobs, condition, goes_well
from support.waiting import wait_until
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.nodes import FakeNodes

pytestmark = pytest.mark.usefixtures("operator")
TWO = {"replicas": 2}
EVALUATION = {"claimName": "faces", "sets": ["lfw"]}


def test_the_children_of_a_namesake_count_for_nothing(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(workers=TWO, evaluation=EVALUATION, runPolicy={"cleanPodPolicy": "None"})
    jobs.wait_for("Succeeded")
    orphaned = {"propagationPolicy": "Orphan"}
    jobs.api.request("DELETE", f"{jobs.path}/quick", json=orphaned).raise_for_status()
    wait_until(lambda: not jobs.exists(), seconds=90)  # by the garbage collector, which has to learn of the kind first
    jobs.create(workers=TWO, evaluation=EVALUATION)
    status = jobs.wait_until(lambda status: condition(status, "Ready").get("reason") == "Refused")
    assert "is not this job's; remove it" in condition(status, "Ready")["message"]
    assert (status["phase"], status.get("evaluation")) == ("Pending", None)
    for resource in ("pods", "configmaps", "services"):
        for item in jobs.children(resource):
            jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}/{resource}/{item['metadata']['name']}")
    status = jobs.wait_for("Succeeded")
    assert (status["attempt"], status["restarts"]) == (1, 0)  # the evaluation is the second


def test_a_job_that_is_replaced_starts_with_clean_counts(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(workers=TWO)
    jobs.wait_for("Training")
    jobs.delete()
    wait_until(lambda: not jobs.exists())
    jobs.create(workers=TWO)
    status = jobs.wait_for("Training")
    assert (status["attempt"], status["restarts"], status.get("failure")) == (0, 0, None)


def test_what_is_ours_is_told_by_one_entry_of_managed_fields(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    """Also once it has been written again: else what we leave out then would stay there for ever."""
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(workers=TWO)
    jobs.wait_for("Training")
    path = f"/api/v1/namespaces/{jobs.namespace}/configmaps/quick-config"
    in_our_name, other = {"fieldManager": "arcface-operator"}, {"data": {"run.json": "{}", "left.json": "{}"}}
    jobs.api.patch(path, params=in_our_name, headers=MERGE, json=other).raise_for_status()

    def written() -> dict[str, str]:
        data: dict[str, str] = jobs.api.get(path).raise_for_status().json()["data"]
        return data

    wait_until(lambda: written()["run.json"] != "{}")
    assert list(written()) == ["run.json"], "what an earlier release has written, and this one leaves out"
    assert operations(jobs, "configmaps") == {"quick-config": ["Apply"]}
    assert operations(jobs, "services") == {"quick": ["Update"]}


def operations(jobs: TrainingJobs, resource: str) -> dict[str, list[str]]:
    """By which requests the operator owns fields of a job's children."""
    return {
        item["metadata"]["name"]: [
            entry["operation"] for entry in item["metadata"]["managedFields"] if entry["manager"] == "arcface-operator"
        ]
        for item in jobs.children(resource)
    }


def test_a_config_map_of_somebody_else_is_left_alone(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    path = f"/api/v1/namespaces/{jobs.namespace}/configmaps"
    mine = {"metadata": {"name": "quick-config"}, "data": {"mine": "precious"}}
    jobs.api.post(path, json=mine).raise_for_status()
    jobs.create()
    jobs.wait_until(lambda status: condition(status, "Ready").get("reason") == "Refused")
    assert not jobs.pods()
    jobs.delete()
    wait_until(lambda: not jobs.exists())
    found = jobs.api.get(f"{path}/quick-config").raise_for_status().json()
    assert (found["data"], found["metadata"].get("ownerReferences")) == ({"mine": "precious"}, None)


@pytest.mark.parametrize("label", ["app.kubernetes.io/managed-by", "app.kubernetes.io/component", "arcface.io/job"])
def test_a_pod_that_loses_a_label_is_replaced(jobs: TrainingJobs, fake_nodes: FakeNodes, label: str) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    jobs.create(workers=TWO, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training")
    uid = jobs.pods()["quick-worker-1"]["metadata"]["uid"]
    take_label(jobs.api, jobs.namespace, "quick-worker-1", label)
    status = jobs.wait_until(lambda status: status.get("restarts", 0) >= 1 and status["phase"] == "Training")
    assert status["countedRestarts"] == 0
    assert jobs.pods()["quick-worker-1"]["metadata"]["uid"] != uid


def take_label(api: httpx.Client, namespace: str, pod: str, label: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    api.patch(path, json={"metadata": {"labels": {label: None}}}, headers=MERGE).raise_for_status()


def test_a_misspelt_field_of_a_template_is_told_and_not_dropped(jobs: TrainingJobs) -> None:
    jobs.create(workers={"replicas": 1, "template": {"spec": {"nodeSelectr": {"disk": "fast"}}}})
    status = jobs.wait_until(lambda status: condition(status, "Ready").get("reason") == "Refused")
    assert "nodeSelectr" in condition(status, "Ready")["message"]
    assert not jobs.pods()


def test_a_report_of_impossible_numbers_is_none(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    absurd = {"progress": {"epoch": 1, "step": 10**30, "totalSteps": 10**30, "updatedAt": "2026-01-01T00:00:00Z"}}
    trainer = type(TRAINS)(progress=absurd, runs=0.3, ending=type(TRAINS.ending)(message=absurd))
    fake_nodes.play(jobs.namespace, goes_well(trainer=trainer))
    jobs.create(runPolicy={"backoffLimit": 0})
    assert jobs.wait_for("Failed")["failure"]["reason"] == "NoReport"
