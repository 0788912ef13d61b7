"""Whole manifests of two jobs against files that were checked by eye."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcface_api.contract.recipe import spec_hash
from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.config_maps import build_config_map
from arcface_operator.manifests.evaluator_pod import build_evaluator_pod, build_trial
from arcface_operator.manifests.worker_pod import build_service, build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job

GOLDEN = Path(__file__).parent / "golden"

CPU = make_job("quick", workers={"accelerator": "cpu", "replicas": 2}, evaluation={"claimName": "faces"})
ASCEND = make_job(
    "r100",
    uid="5f1c1a52-8f0e-4d8e-9d43-1d9b6b5a0c11",
    image="registry.example/arcface:7",
    imagePullPolicy="IfNotPresent",
    imagePullSecrets=[{"name": "registry"}],
    data={"claimName": "datasets", "path": "faces_emore"},
    workers={
        "accelerator": "ascend",
        "replicas": 2,
        "devicesPerWorker": 8,
        "resources": {"requests": {"cpu": 64, "memory": "256Gi"}, "limits": {"memory": "256Gi"}},
        "template": {
            "metadata": {"labels": {"team": "faces"}},
            "spec": {
                "nodeSelector": {"accelerator": "huawei-Ascend910"},
                "tolerations": [{"key": "npu", "operator": "Exists"}],
                "volumes": [{"name": "driver", "hostPath": {"path": "/usr/local/Ascend/driver"}}],
                "containers": [
                    {
                        "name": "trainer",
                        "env": [{"name": "HCCL_CONNECT_TIMEOUT", "value": "600"}],
                        "volumeMounts": [{"name": "driver", "mountPath": "/usr/local/Ascend/driver"}],
                    },
                    {"name": "sidecar", "image": "registry.example/sidecar:1"},
                ],
            },
        },
    },
    evaluation={
        "claimName": "datasets",
        "path": "verification",
        "sets": ["lfw"],
        "gates": [{"metric": "lfw.accuracy", "min": 0.9977}],
    },
    scheduling={"priorityClassName": "training", "schedulerName": "volcano"},
)


def manifests(job: ArcFaceTrainingJob) -> list[dict[str, Any]]:
    settings = Settings(trainer_image="arcface-trainer:test")
    config_map = build_config_map(job)
    run_config = json.loads(config_map["data"]["run.json"])
    assert run_config["specHash"] == spec_hash(job.spec)
    # A number that no eye can check, and that changes with every new field of the spec.
    config_map["data"] = {"run.json": {**run_config, "specHash": "<spec_hash>"}}
    pod = build_worker_pod(job, index=1, attempt=2, settings=settings)
    return [config_map, build_service(job), pod, build_evaluator_pod(job, attempt=3, settings=settings)]


@pytest.mark.parametrize(
    ("job", "file"),
    [pytest.param(CPU, "cpu-2-ranks.yaml", id="cpu 2 ranks"), pytest.param(ASCEND, "ascend-2x8.yaml", id="ascend 2x8")],
)
def test_manifests_are_as_checked_by_eye(job: ArcFaceTrainingJob, file: str) -> None:
    assert manifests(job) == list(yaml.safe_load_all((GOLDEN / file).read_text()))


@pytest.mark.parametrize(("devices", "ranks"), [(1, ()), (8, ("--ranks", "8")), ("2", ("--ranks", "2"))])
def test_the_evaluator_has_a_rank_for_each_device_that_it_asks_for(devices: int | str, ranks: tuple[str, ...]) -> None:
    limits = {"huawei.com/Ascend910": devices, "memory": "64Gi"}
    evaluation = {"claimName": "sets", "sets": ["lfw"], "resources": {"limits": limits}}
    job = make_job(workers={"accelerator": "ascend"}, evaluation=evaluation)
    (container,) = build_evaluator_pod(job, 0, Settings())["spec"]["containers"]
    assert container["args"][4:] == list(ranks)
    assert container["resources"]["limits"] == {**limits, "huawei.com/Ascend910": int(devices)}


@pytest.mark.parametrize("devices", ["1500m", "0", "1k"])
def test_parts_of_a_device_are_refused(devices: str) -> None:
    resources = {"limits": {"huawei.com/Ascend910": devices}}
    job = make_job(workers={"accelerator": "ascend"}, evaluation={"claimName": "sets", "resources": resources})
    with pytest.raises(InvalidInput, match="give a whole number of devices"):
        build_evaluator_pod(job, 0, Settings())


def test_there_is_no_evaluator_where_nothing_is_to_be_evaluated() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.evaluation: is absent"):
        build_evaluator_pod(make_job(), 0, Settings())


def test_the_evaluators_template_is_tried_as_it_will_be_and_as_no_pod() -> None:
    trial, pod = build_trial(ASCEND, Settings()), build_evaluator_pod(ASCEND, 0, Settings())
    assert (trial["apiVersion"], trial["kind"]) == ("v1", "PodTemplate")
    assert trial["template"]["spec"] == pod["spec"]
    assert trial["template"]["metadata"]["labels"] == pod["metadata"]["labels"]
    assert "name" not in trial["template"]["metadata"]


def test_the_drivers_folders_and_files_are_mounted_where_there_are_devices() -> None:
    folders = ("/usr/local/Ascend/driver", "/usr/local/dcmi")
    settings = Settings(driver_mounts=folders, driver_files=("/etc/ascend_install.info",))
    spec = build_worker_pod(make_job(workers={"accelerator": "ascend"}), 0, 1, settings)["spec"]
    volume = {"name": "driver-1", "hostPath": {"path": "/usr/local/dcmi", "type": "Directory"}}
    assert volume in spec["volumes"]
    mount = {"name": "driver-1", "mountPath": "/usr/local/dcmi", "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]
    file = {"name": "driver-2", "hostPath": {"path": "/etc/ascend_install.info", "type": "File"}}
    assert file in spec["volumes"]
    mount = {"name": "driver-2", "mountPath": "/etc/ascend_install.info", "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]
    on_cpu = build_worker_pod(make_job(workers={"accelerator": "cpu"}), 0, 1, settings)
    assert on_cpu == build_worker_pod(make_job(workers={"accelerator": "cpu"}), 0, 1, Settings())


def test_ranks_that_verify_see_the_sets() -> None:
    job = make_job(workers={"accelerator": "cpu"}, evaluation={"claimName": "sets", "path": "bins", "everyEpochs": 2})
    spec = build_worker_pod(job, index=0, attempt=1, settings=Settings())["spec"]
    assert {"name": "evaluation", "persistentVolumeClaim": {"claimName": "sets", "readOnly": True}} in spec["volumes"]
    mount = {"name": "evaluation", "mountPath": "/evaluation", "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]
    told = json.loads(build_config_map(job)["data"]["run.json"])["evaluation"]
    assert (told["directory"], told["everyEpochs"]) == ("/evaluation/bins", 2)


def test_ranks_see_what_they_fine_tune_and_cannot_write_to_it() -> None:
    job = make_job(
        model={"initFrom": {"claimName": "models", "path": "r50/step-00000100"}}, evaluation={"claimName": "s"}
    )
    spec = build_worker_pod(job, index=0, attempt=1, settings=Settings())["spec"]
    assert {"name": "init-from", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in spec["volumes"]
    mount = {"name": "init-from", "mountPath": "/init-from", "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]
    told = json.loads(build_config_map(job)["data"]["run.json"])
    assert told["initDirectory"] == "/init-from/r50/step-00000100"
    evaluator = build_evaluator_pod(job, attempt=1, settings=Settings())["spec"]
    assert [volume for volume in evaluator["volumes"] if volume["name"] == "init-from"] == []


def test_building_twice_gives_the_same_and_leaves_the_job_alone() -> None:
    before = ASCEND.model_dump()
    assert manifests(ASCEND) == manifests(ASCEND)
    assert ASCEND.model_dump() == before


def test_all_pods_of_a_gang_have_names_and_ranks_of_their_own() -> None:
    pods = [build_worker_pod(ASCEND, index, 0, Settings()) for index in range(2)]
    assert [pod["metadata"]["name"] for pod in pods] == ["r100-worker-0", "r100-worker-1"]
    assert [pod["spec"]["hostname"] for pod in pods] == ["r100-worker-0", "r100-worker-1"]
    ranks = [{item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]} for pod in pods]
    assert [(env["MS_NODE_ID"], env["RANK_ID"], env["MS_WORKER_NUM"]) for env in ranks] == [
        ("0", "0", "16"),
        ("8", "8", "16"),
    ]
