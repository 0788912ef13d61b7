"""Which claims a pod only reads; the kubelet changes nothing on those."""

from typing import Any

import pytest

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.claim_access import with_read_claims
from arcface_operator.manifests.evaluator_pod import build_evaluator_pod
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job


def access(pod: dict[str, Any]) -> dict[str, bool]:
    """Whether each of the claims' volumes is read-only."""
    claims = {v["name"]: v["persistentVolumeClaim"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v}
    return {name: claim.get("readOnly", False) for name, claim in claims.items()}


def worker(job: ArcFaceTrainingJob) -> dict[str, bool]:
    return access(build_worker_pod(job, 0, 1, Settings()))


def data_template(container: dict[str, Any], kind: str = "initContainers") -> dict[str, Any]:
    return {"spec": {kind: [{"name": "own", "image": "own:1", **container}]}}


def test_ranks_read_data_sets_and_weights_and_write_checkpoints_alone() -> None:
    job = make_job(
        data={"claimName": "faces"},
        model={"initFrom": {"claimName": "models", "path": "r50/step-00000100"}},
        evaluation={"claimName": "sets", "everyEpochs": 1},
    )
    assert worker(job) == {"data": True, "checkpoints": False, "init-from": True, "evaluation": True}


def test_the_evaluator_keeps_its_documents_beside_the_checkpoints_and_writes_to_no_other_claim() -> None:
    pod = build_evaluator_pod(make_job(evaluation={"claimName": "sets"}), 1, Settings())
    assert access(pod) == {"checkpoints": False, "evaluation": True}


def test_one_claim_for_all_stays_writable_in_all_its_volumes() -> None:
    job = make_job(data={"claimName": "all"}, checkpoint={"claimName": "all"})
    assert worker(job) == {"data": False, "checkpoints": False}


@pytest.mark.parametrize("kind", ["initContainers", "containers"])
@pytest.mark.parametrize(
    ("container", "is_read_only"),
    [
        ({"volumeMounts": [{"name": "data", "mountPath": "/unpack"}]}, False),
        ({"volumeMounts": [{"name": "data", "mountPath": "/unpack", "readOnly": False}]}, False),
        ({"volumeDevices": [{"name": "data", "devicePath": "/dev/x"}]}, False),
        ({"volumeMounts": [{"name": "data", "mountPath": "/look", "readOnly": True}]}, True),
    ],
)
def test_a_container_of_the_users_own_that_writes_to_the_data_may(
    kind: str, container: dict[str, Any], is_read_only: bool
) -> None:
    job = make_job(data={"claimName": "faces"}, workers={"template": data_template(container, kind)})
    assert worker(job)["data"] is is_read_only


def test_a_volume_of_the_users_own_counts_for_its_claim() -> None:
    template = data_template({"volumeMounts": [{"name": "mine", "mountPath": "/unpack"}]})
    template["spec"]["volumes"] = [{"name": "mine", "persistentVolumeClaim": {"claimName": "faces"}}]
    job = make_job(data={"claimName": "faces"}, workers={"template": template})
    assert worker(job) == {"data": False, "checkpoints": False, "mine": False}


@pytest.mark.parametrize("junk", [None, 3, "x", [1], [{"volumeMounts": 3}], [{"volumeMounts": [None, {"name": 5}]}]])
def test_what_the_api_server_will_refuse_is_left_to_it(junk: Any) -> None:
    volumes = [{"name": "x", "persistentVolumeClaim": 3}, {"name": "y", "persistentVolumeClaim": {"claimName": []}}]
    pod = {"spec": {"volumes": volumes, "initContainers": junk, "containers": []}}
    assert with_read_claims(pod) == pod
