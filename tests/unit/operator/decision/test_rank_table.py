"""hccl.json from the device plugin's annotations: its bytes, and what keeps it from being complete."""

import json
from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Annotate, Apply
from arcface_operator.decision.rank_table import RankTable, assemble
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, ago, make_worker
from support.decision_table import observation_in, status_in

NAME = "ascend.kubectl.kubernetes.io/ascend-910-configuration"
ADDRESSES = ("10.244.1.7", "10.244.2.9", "10.244.3.5", "10.244.4.3")


def job_of(replicas: int = 2, devices: int = 2, **workers: Any) -> Any:
    fields = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices, **workers}
    return make_job(workers=fields, training={"precision": "fp32"})


def in_super_pods(block: str | None = None, **workers: Any) -> Any:
    annotations = {"sp-block": block} if block is not None else {"huawei.com/schedule_policy": "chip2-node16-sp"}
    return job_of(**workers, template={"metadata": {"annotations": annotations}})


def configuration(index: int, ids: tuple[str, ...] = ("0", "1"), **fields: Any) -> dict[str, Any]:
    """The plugin's annotation: by default in the shape of its releases 5.0 to 7.2."""
    devices = [{"device_id": name, "device_ip": f"192.168.10{int(name) + 1}.{index + 2}"} for name in ids]
    default = {"pod_name": f"quick-worker-{index}", "server_id": f"10.0.0.1{index + 1}", "devices": devices}
    return {**default, **fields}


def member(index: int, written: Any = None, **fields: Any) -> PodView:
    """A rank pod that the plugin has written on."""
    text = written if isinstance(written, str) else json.dumps(written or configuration(index))
    default = {"address": ADDRESSES[index], "host_address": f"10.0.0.1{index + 1}", "annotations": {NAME: text}}
    return make_worker(index, **{**default, **fields})


def table(job: Any, *pods: PodView) -> RankTable:
    return assemble(job.spec, pods, SETTINGS.device_annotation)


def test_version_1_0_byte_by_byte() -> None:
    assert table(job_of(), member(0), member(1)).document == (
        '{"status":"completed","version":"1.0","server_count":"2","server_list":['
        '{"server_id":"10.0.0.11","host_ip":"10.0.0.11","container_ip":"10.244.1.7","device":['
        '{"device_id":"0","device_ip":"192.168.101.2","rank_id":"0"},'
        '{"device_id":"1","device_ip":"192.168.102.2","rank_id":"1"}]},'
        '{"server_id":"10.0.0.12","host_ip":"10.0.0.12","container_ip":"10.244.2.9","device":['
        '{"device_id":"0","device_ip":"192.168.101.3","rank_id":"2"},'
        '{"device_id":"1","device_ip":"192.168.102.3","rank_id":"3"}]}]}'
    )


def test_version_1_2_byte_by_byte() -> None:
    device = {"device_id": "0", "device_ip": "192.168.101.2", "super_device_id": "37748736"}
    written = configuration(0, server_id="6b1c", host_ip="10.0.0.11", server_ip="10.0.0.11", devices=[device])
    pod = member(0, {**written, "super_pod_id": 3, "rack_id": 7, "server_index": "4"})
    assert table(in_super_pods(replicas=1, devices=1), pod).document == (
        '{"status":"completed","version":"1.2","server_count":"1","server_list":[{"server_id":"6b1c",'
        '"host_ip":"10.0.0.11","container_ip":"10.244.1.7","device":[{"device_id":"0","device_ip":"192.168.101.2",'
        '"super_device_id":"37748736","rank_id":"0"}]}],'
        '"super_pod_list":[{"super_pod_id":"0","server_list":[{"server_id":"6b1c"}]}]}'
    )


def parsed(found: RankTable) -> dict[str, Any]:
    assert found.document is not None
    return json.loads(found.document)


@pytest.mark.parametrize(
    ("written", "server", "host"),
    [
        pytest.param({}, "10.0.0.11", "10.0.0.11", id="address of the node, to 7.2"),
        pytest.param({"server_id": "6b1c"}, "6b1c", "10.0.0.11", id="uid of the pod, without the node's address"),
        pytest.param({"server_id": "6b1c", "host_ip": "10.0.0.99"}, "6b1c", "10.0.0.99", id="uid of the pod, from 7.3"),
    ],
)
def test_a_server_is_named_as_the_plugin_names_it(written: dict[str, Any], server: str, host: str) -> None:
    (entry,) = parsed(table(job_of(replicas=1), member(0, configuration(0, **written))))["server_list"]
    assert (entry["server_id"], entry["host_ip"]) == (server, host)


def test_devices_are_in_the_order_of_their_numbers() -> None:
    ids = ("10", "9", "11", "2")
    (entry,) = parsed(table(job_of(replicas=1, devices=4), member(0, configuration(0, ids))))["server_list"]
    assert [(device["device_id"], device["rank_id"]) for device in entry["device"]] == [
        ("2", "0"),
        ("9", "1"),
        ("10", "2"),
        ("11", "3"),
    ]


def test_a_rank_is_the_pods_index_times_its_devices_plus_the_place() -> None:
    job = job_of(replicas=3, devices=2)
    servers = parsed(table(job, *(member(index, configuration(index, ("6", "7"))) for index in range(3))))
    ranks = [[device["rank_id"] for device in server["device"]] for server in servers["server_list"]]
    assert ranks == [["0", "1"], ["2", "3"], ["4", "5"]]


@pytest.mark.parametrize(
    ("template", "version"),
    [
        pytest.param(None, "1.0", id="nothing said"),
        pytest.param({"metadata": {"annotations": {"sp-block": "16"}}}, "1.2", id="block"),
        pytest.param(
            {"metadata": {"annotations": {"huawei.com/schedule_policy": "chip2-node8-sp"}}}, "1.2", id="policy"
        ),
        pytest.param(
            {"metadata": {"annotations": {"huawei.com/schedule_policy": "chip8-node8"}}}, "1.0", id="other policy"
        ),
        pytest.param({"spec": {"nodeSelector": {"accelerator-type": "module-a3-16-super-pod"}}}, "1.2", id="machine"),
        pytest.param({"spec": {"nodeSelector": {"accelerator-type": "module-910b-8"}}}, "1.0", id="other machine"),
    ],
)
def test_the_version_follows_the_marks_of_super_pods(template: Any, version: str) -> None:
    assert parsed(table(job_of(template=template), member(0), member(1)))["version"] == version


@pytest.mark.parametrize(
    ("block", "pods"),
    [
        pytest.param("4", [["10.0.0.11", "10.0.0.12"], ["10.0.0.13", "10.0.0.14"]], id="two pods a block"),
        pytest.param("2", [["10.0.0.11"], ["10.0.0.12"], ["10.0.0.13"], ["10.0.0.14"]], id="one pod a block"),
        pytest.param(None, [["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]], id="the whole job"),
        pytest.param("²", [["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]], id="no number"),
        pytest.param("0", [["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]], id="nothing"),
        pytest.param("9" * 5000, [["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]], id="too long a number"),
    ],
)
def test_super_pods_are_blocks_of_consecutive_ranks(block: str | None, pods: list[list[str]]) -> None:
    found = parsed(table(in_super_pods(block, replicas=4), *(member(index) for index in range(4))))["super_pod_list"]
    assert [entry["super_pod_id"] for entry in found] == [str(place) for place in range(len(pods))]
    assert [[server["server_id"] for server in entry["server_list"]] for entry in found] == pods


def test_a_super_device_that_is_not_known_is_left_out() -> None:
    servers = parsed(table(in_super_pods(), member(0), member(1)))["server_list"]
    assert all("super_device_id" not in device for server in servers for device in server["device"])


def without(address: str, index: int) -> PodView:
    """A pod with a card of which the plugin knows this address only."""
    devices = [{"device_id": "0", "device_ip": f"192.168.101.{index + 2}"}, {"device_id": "1", "device_ip": address}]
    return member(index, configuration(index, devices=devices))


@pytest.mark.parametrize(
    ("job", "pods", "is_complete"),
    [
        pytest.param(job_of(), (member(0), without("-1", 1)), False, id="1.0, could not be read"),
        pytest.param(job_of(), (member(0), without("", 1)), False, id="1.0, has none"),
        pytest.param(job_of(replicas=1), (without("-1", 0),), False, id="1.0 on one server, could not be read"),
        pytest.param(job_of(replicas=1), (without("", 0),), True, id="1.0 on one server, has none"),
        pytest.param(in_super_pods(), (member(0), without("-1", 1)), True, id="1.2 in one super pod"),
        pytest.param(in_super_pods("2"), (member(0), without("-1", 1)), False, id="1.2 in two super pods"),
    ],
)
def test_cards_need_an_address_wherever_they_talk_over_the_network(
    job: Any, pods: tuple[PodView, ...], is_complete: bool
) -> None:
    found = table(job, *pods)
    assert (found.document is not None) == is_complete
    if not is_complete:
        assert found.status.missing == [pods[-1].name]
        assert found.problem == f"the device plugin does not know the network address of a card of {pods[-1].name}"


@pytest.mark.parametrize(
    ("pods", "ready", "missing"),
    [
        pytest.param((member(0), member(1, annotations={})), 2, ["quick-worker-1"], id="no annotation yet"),
        pytest.param((member(0, address=None), member(1)), 2, ["quick-worker-0"], id="no address yet"),
        pytest.param(
            (member(0, annotations={}), member(1, address=None)), 0, ["quick-worker-0", "quick-worker-1"], id="nothing"
        ),
        pytest.param((member(1),), 2, [], id="pod not there yet"),
    ],
)
def test_a_table_that_waits_names_the_pods(pods: tuple[PodView, ...], ready: int, missing: list[str]) -> None:
    found = table(job_of(), *pods)
    assert (found.document, found.problem) == (None, None)
    assert (found.status.state, found.status.ready, found.status.total) == ("initializing", ready, 4)
    assert found.status.missing == missing


def loopback(index: int, ids: tuple[str, ...] = ("0", "1")) -> PodView:
    """A pod whose cards have the address that the plugin has where none was ever set."""
    return member(index, configuration(index, devices=[{"device_id": name, "device_ip": "127.0.0.1"} for name in ids]))


def test_cards_of_one_server_need_no_address_of_their_own() -> None:
    assert table(job_of(replicas=1), loopback(0)).document is not None
    assert table(in_super_pods(), loopback(0), loopback(1)).document is not None


def test_an_address_that_no_other_server_reaches_is_unknown() -> None:
    found = table(job_of(), member(0), loopback(1))
    assert found.problem == "the device plugin does not know the network address of a card of quick-worker-1"


READABLE = "pod quick-worker-1: the device plugin's annotation cannot be read"


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        pytest.param(member(1, "not JSON"), READABLE, id="no JSON"),
        pytest.param(member(1, "[]"), READABLE, id="no map"),
        pytest.param(member(1, "{"), READABLE, id="cut off"),
        pytest.param(member(1, "[" * 100_000), READABLE, id="deep"),
        pytest.param(member(1, '{"devices":[]}'), f"{READABLE} (server_id: required field is missing)", id="no server"),
        pytest.param(member(1, configuration(1, devices={})), READABLE, id="no list of devices"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": 0}])), READABLE, id="number for text"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "-1"}])), READABLE, id="negative device"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "²"}])), READABLE, id="raised digit"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "9" * 5000}])), READABLE, id="endless number"),
        pytest.param(
            member(1, configuration(1, ("0",))),
            "pod quick-worker-1 was given 1 devices, devicesPerWorker is 2",
            id="fewer devices",
        ),
        pytest.param(
            member(1, configuration(1, ("0", "1", "2"))),
            "pod quick-worker-1 was given 3 devices, devicesPerWorker is 2",
            id="more devices",
        ),
        pytest.param(member(1, configuration(1, ("3", "3"))), "card 3 of node node-1 was given twice", id="card twice"),
        pytest.param(member(1, node="node-0"), "card 0 of node node-0 was given twice", id="card of another pod"),
        pytest.param(
            member(
                1,
                configuration(
                    1,
                    devices=[{"device_id": "0", "device_ip": "10.0.0.1"}, {"device_id": "1", "device_ip": "10.0.0.1"}],
                ),
            ),
            "the network address 10.0.0.1 is that of two cards",
            id="address twice",
        ),
        pytest.param(member(1, configuration(1, server_id="")), READABLE, id="nameless server"),
        pytest.param(replace(member(1), index=0), "two pods have the index 0", id="rank of another pod"),
    ],
)
def test_a_table_that_cannot_be_right_is_not_made(pod: PodView, problem: str) -> None:
    found = table(job_of(), member(0), pod)
    assert found.document is None
    assert found.problem is not None
    assert found.problem.startswith(problem)
    assert found.status.state == "initializing"
    assert found.status.ready <= found.status.total


def test_two_pods_on_one_node_may_have_different_cards() -> None:
    one, other = member(0), member(1, configuration(1, ("2", "3"), server_id="10.0.0.11"), node="node-0")
    assert table(job_of(), one, other).document is not None


def test_the_annotations_name_is_a_setting() -> None:
    settings = Settings(device_annotation="example.com/devices")
    pods = tuple(
        member(index, annotations={"example.com/devices": json.dumps(configuration(index))}) for index in (0, 1)
    )
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), settings, NOW)
    assert plan.status.rank_table is not None
    assert plan.status.rank_table.state == "completed"


def starting(**changes: Any) -> Any:
    """A job whose pods exist."""
    status = status_in("Starting", attempt=0, **changes)
    return job_of().model_copy(update={"status": status})


def ready_condition(plan: Any) -> tuple[str, str, str]:
    (found,) = [item for item in plan.status.conditions if item.type == "RankTableReady"]
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("pods", "condition"),
    [
        pytest.param(
            (member(0), member(1, annotations={})),
            ("False", "WaitingForDevices", "no devices are known yet of quick-worker-1"),
            id="waits",
        ),
        pytest.param(
            (member(0), member(1, configuration(1, ("0",)))),
            ("False", "DevicesUnusable", "pod quick-worker-1 was given 1 devices, devicesPerWorker is 2"),
            id="cannot be right",
        ),
        pytest.param((member(0), member(1)), ("True", "Completed", "all ranks are in it"), id="complete"),
    ],
)
def test_the_condition_tells_how_the_table_is(pods: tuple[PodView, ...], condition: tuple[str, str, str]) -> None:
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, NOW)
    assert ready_condition(plan) == condition
    assert plan.actions == () or condition[0] == "True"


def test_a_complete_table_is_written_before_the_pods_are_touched() -> None:
    plan = decide(observation_in("Starting", starting(), {"pods": (member(0), member(1))}), SETTINGS, NOW)
    written, *touches = plan.actions
    assert isinstance(written, Apply)
    data = written.manifest["data"]
    assert data == {"hccl.json": table(job_of(), member(0), member(1)).document, "version": str(int(NOW.timestamp()))}
    assert all(isinstance(touch, Annotate) for touch in touches)
    assert [touch.name for touch in touches] == ["quick-worker-0", "quick-worker-1"]


def touched(*pods: PodView) -> tuple[PodView, ...]:
    """The pods after a decision about them."""
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, NOW)
    (value,) = {action.annotations[RANK_TABLE_ANNOTATION] for action in plan.actions if isinstance(action, Annotate)}
    return tuple(member(pod.index, annotations={**pod.annotations, RANK_TABLE_ANNOTATION: value}) for pod in pods)


def test_a_table_that_all_pods_know_is_left_alone() -> None:
    pods = touched(member(0), member(1))
    assert decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(-60)).actions == ()


def test_a_table_that_has_changed_is_written_again() -> None:
    one, other = touched(member(0), member(1))
    moved = member(1, annotations=other.annotations, address="10.244.9.9")
    plan = decide(observation_in("Starting", starting(), {"pods": (one, moved)}), SETTINGS, NOW)
    assert [type(action) for action in plan.actions] == [Apply, Annotate, Annotate]


def test_a_start_that_waits_for_devices_too_long_names_the_pods() -> None:
    pods = tuple(member(index, annotations={}, created=ago(4000)) for index in range(2))
    first = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(3000))
    waiting = starting(rank_table=first.status.rank_table)
    failure = decide(observation_in("Starting", waiting, {"pods": pods}), SETTINGS, NOW).status.failure
    assert failure is not None
    assert failure.reason == "StartupDeadlineExceeded"
    assert failure.message.endswith("the rank table waits for quick-worker-0, quick-worker-1")


def test_an_ascend_job_may_meet_without_a_table() -> None:
    job = job_of(rendezvous="dynamic").model_copy(update={"status": status_in("Starting", attempt=0)})
    plan = decide(observation_in("Starting", job, {"pods": (make_worker(0), make_worker(1))}), SETTINGS, NOW)
    assert plan.status.rank_table is None
    assert plan.actions == ()
