import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import SCHEDULER_ANNOTATION
from arcface_api.errors import InvalidInput
from arcface_operator.local.kubelet.kubelet import host_names
from arcface_operator.local.kubelet.process_spec import (
    PodPlacement,
    annotated,
    build_process_spec,
    left_out,
    relocate,
    relocate_file,
)
from arcface_operator.manifests.config_maps import build_config_map
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.builders.pods import make_pod

JOB = make_job("quick", workers={"replicas": 2})
POD = annotated(build_worker_pod(JOB, index=1, attempt=0, settings=Settings()), {SCHEDULER_ANNOTATION: "127.77.3.1"})
VOLUMES = Path("/w/pods/quick-worker-1/volumes")
PLACE = PodPlacement(
    folder=Path("/w/pods/quick-worker-1"),
    address="127.77.3.2",
    hosts={"quick-worker-0.quick": "127.77.3.1", "quick-worker-1.quick": "127.77.3.2"},
    claims={"faces": Path("/home/me/faces"), "checkpoints": Path("/w/volumes/checkpoints")},
    config_maps={"quick-config": build_config_map(JOB)},
)


def test_a_worker_pod_becomes_a_process() -> None:
    spec = build_process_spec(POD, PLACE)
    assert spec.arguments == [
        "arcface",
        "train",
        "--config",
        "/w/pods/quick-worker-1/volumes/config/run.json",
        "--termination-log",
        "/w/pods/quick-worker-1/termination-log",
    ]
    assert spec.environment == {
        "POD_NAME": "quick-worker-1",
        "POD_IP": "127.77.3.2",
        "MS_ROLE": "MS_WORKER",
        "MS_SCHED_PORT": "8118",
        "MS_WORKER_NUM": "2",
        "MS_NODE_ID": "1",
        "MS_TOPO_TIMEOUT": "1800",
        "ARCFACE_ATTEMPT": "0",
        "ARCFACE_LAUNCH_FILE": f"{VOLUMES}/rendezvous/launch",
        "ARCFACE_SCHEDULER_FILE": f"{VOLUMES}/rendezvous/scheduler-address",
    }
    assert spec.grace_seconds == 120
    assert spec.termination_log == PLACE.folder / "termination-log"
    assert spec.folders == [VOLUMES / "config", VOLUMES / "shared-memory", VOLUMES / "rendezvous"]


def test_an_annotation_becomes_the_file_that_shows_it() -> None:
    assert build_process_spec(POD, PLACE).files[VOLUMES / "rendezvous" / "scheduler-address"] == "127.77.3.1"


def test_the_run_configuration_names_folders_of_this_machine() -> None:
    text = build_process_spec(POD, PLACE).files[VOLUMES / "config" / "run.json"]
    assert json.loads(text)["data"]["directory"] == "/home/me/faces"
    assert json.loads(text)["checkpoint"]["directory"] == "/w/volumes/checkpoints/quick"


def test_a_pod_is_known_by_its_host_name_and_subdomain() -> None:
    assert host_names(POD) == ["quick-worker-1.quick", "quick-worker-1.quick.default"]
    assert host_names(make_pod("alone", "")) == []


def test_a_folder_of_this_machine_and_a_part_of_a_volume_can_be_mounted() -> None:
    pod = make_pod(
        "p",
        "",
        volumes=[
            {"name": "host", "hostPath": {"path": "/opt/tools"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "faces"}},
        ],
        container={
            "args": ["/tools/x", "/part/y"],
            "volumeMounts": [
                {"name": "host", "mountPath": "/tools"},
                {"name": "claim", "mountPath": "/part", "subPath": "a/b"},
            ],
        },
    )
    assert build_process_spec(pod, PLACE).arguments[-2:] == ["/opt/tools/x", "/home/me/faces/a/b/y"]


def test_in_the_hosts_network_ranks_of_one_machine_meet_on_its_loopback() -> None:
    """HCCL_IF_IP must be an address of the host; a pod's own here is none that an interface lists."""
    workers = {"accelerator": "ascend", "devicesPerWorker": 2, "rendezvous": "dynamic"}
    job = make_job("npu", workers={**workers, "template": {"spec": {"hostNetwork": True}}})
    place = replace(PLACE, config_maps={"npu-config": build_config_map(job)})
    spec = build_process_spec(build_worker_pod(job, index=0, attempt=0, settings=Settings()), place)
    assert (spec.environment["HCCL_IF_IP"], spec.environment["POD_IP"]) == ("127.0.0.1", "127.77.3.2")


def test_containers_beside_ours_are_named_as_left_out() -> None:
    pod = make_pod("p", "", initContainers=[{"name": "before"}])
    pod["spec"]["containers"].append({"name": "sidecar"})
    assert left_out(pod) == ["before", "sidecar"]
    assert left_out(POD) == []


def mounting(volume: dict[str, Any]) -> dict[str, Any]:
    return make_pod("p", "", volumes=[volume], container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        pytest.param(
            mounting({"name": "v", "secret": {"secretName": "s"}}),
            "volume v: secret cannot be mounted on this machine; leave it out of the template",
            id="secret",
        ),
        pytest.param(
            mounting({"name": "v", "persistentVolumeClaim": {"claimName": "other"}}),
            "volume v: claim 'other' has no directory on this machine; leave it out",
            id="claim of the template",
        ),
        pytest.param(
            mounting({"name": "v", "configMap": {"name": "rings-config-quick"}}),
            "volume v: ConfigMap 'rings-config-quick' is not at hand on this machine; leave it out",
            id="config map of the cluster",
        ),
        pytest.param(
            mounting({"name": "v", "hostPath": "/x"}), "volume v: hostPath needs path; correct the template", id="shape"
        ),
        pytest.param(
            make_pod("p", "", container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
            "volumeMount /v: the pod has no volume 'v'; correct the template",
            id="no such volume",
        ),
        pytest.param(
            make_pod("p", "", container={"env": [{"name": "E", "value": 1}]}),
            "env E: value 1 must be text; quote it in the template",
            id="number as value",
        ),
        pytest.param(
            make_pod("p", "", container={"env": [{"name": "E", "valueFrom": {"secretKeyRef": {"key": "k"}}}]}),
            'env E: {"secretKeyRef": {"key": "k"}} is not known on this machine; give a plain value',
            id="value from a secret",
        ),
    ],
)
def test_what_only_a_cluster_has_is_refused(pod: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_process_spec(pod, PLACE)
    assert str(caught.value) == message


PLACES = {"/data": "/home/me/faces", "/data/deep": "/elsewhere", "/dev/termination-log": "/w/end"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("/data", "/home/me/faces", id="mount itself"),
        pytest.param("/data/a/b", "/home/me/faces/a/b", id="below"),
        pytest.param("/data/", "/home/me/faces/", id="trailing slash"),
        pytest.param("/database", "/database", id="longer name"),
        pytest.param("/data/deep/x", "/elsewhere/x", id="longest mount decides"),
        pytest.param("/data/deeper", "/home/me/faces/deeper", id="longest mount that is a folder of it"),
        pytest.param("/dev/termination-log", "/w/end", id="file"),
        pytest.param("see /data", "see /data", id="in the middle of a text"),
        pytest.param("data", "data", id="relative"),
    ],
)
def test_relocate_path(text: str, expected: str) -> None:
    assert relocate(text, PLACES) == expected


def test_mounts_may_end_with_a_slash() -> None:
    assert relocate(["/data", "/data/x"], {"/data/": "/faces"}) == ["/faces", "/faces/x"]


def test_values_in_lists_and_maps_move_and_keys_stay() -> None:
    value = {"/data": ["/data/x", 3, None, True, {"path": "/data"}]}
    assert relocate(value, PLACES) == {"/data": ["/home/me/faces/x", 3, None, True, {"path": "/home/me/faces"}]}


def test_only_json_files_are_rewritten() -> None:
    assert json.loads(relocate_file("run.json", '{"d": "/data"}', PLACES)) == {"d": "/home/me/faces"}
    assert relocate_file("notes.txt", '"/data"', PLACES) == '"/data"'
