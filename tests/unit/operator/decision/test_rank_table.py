"""hccl.json from the device plugin's annotations: its bytes, and what keeps it from being complete."""

import json
from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION
from arcface_api.contract.rank_table import RankTableDocument
from arcface_api.resource.status import Condition, RankTableStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.device_annotation import parse_configuration
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Annotate, Apply, Create
from arcface_operator.decision.rank_table import RankTable, _cards, assemble
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


def device(index: int, number: int, **fields: Any) -> dict[str, Any]:
    """A card of the node of pod `index`."""
    address, super_device = f"192.168.{101 + number}.{index + 2}", str(100 * index + number)
    return {"device_id": str(number), "device_ip": address, "super_device_id": super_device, **fields}


def configuration(index: int, ids: tuple[str, ...] = ("0", "1"), **fields: Any) -> dict[str, Any]:
    """The plugin's annotation: by default in the shape of its release 7.2."""
    devices = [device(index, int(name)) for name in ids]
    default = {"pod_name": f"quick-worker-{index}", "server_id": f"10.0.0.1{index + 1}", "super_pod_id": 0}
    return {**default, "devices": devices, **fields}


def member(index: int, written: Any = None, **fields: Any) -> PodView:
    """A rank pod that the plugin has written on."""
    text = written if isinstance(written, str) else json.dumps(written or configuration(index))
    default = {"address": ADDRESSES[index], "host_address": f"10.0.0.1{index + 1}", "annotations": {NAME: text}}
    return make_worker(index, **{**default, **fields})


def table(job: Any, *pods: PodView) -> RankTable:
    return assemble(job.spec, pods, SETTINGS.device_annotation)


def test_version_1_0_byte_by_byte() -> None:
    assert table(job_of(), member(0), member(1)).document == (
        '{"status":"completed","version":"1.0","attempt":"0","server_count":"2","server_list":['
        '{"server_id":"10.0.0.11","container_ip":"10.244.1.7","device":['
        '{"device_id":"0","device_ip":"192.168.101.2","rank_id":"0"},'
        '{"device_id":"1","device_ip":"192.168.102.2","rank_id":"1"}]},'
        '{"server_id":"10.0.0.12","container_ip":"10.244.2.9","device":['
        '{"device_id":"0","device_ip":"192.168.101.3","rank_id":"2"},'
        '{"device_id":"1","device_ip":"192.168.102.3","rank_id":"3"}]}]}'
    )


def test_version_1_2_byte_by_byte() -> None:
    cards = [device(0, 0, super_device_id="37748736")]
    written = configuration(0, server_id="6b1c", host_ip="10.0.0.11", server_ip="10.0.0.11", devices=cards)
    pod = member(0, {**written, "super_pod_id": 3, "rack_id": 7, "server_index": "4"})
    assert table(in_super_pods(replicas=1, devices=1), pod).document == (
        '{"status":"completed","version":"1.2","attempt":"0","server_count":"1","server_list":[{"server_id":"10.0.0.11",'
        '"container_ip":"10.244.1.7","device":[{"device_id":"0","device_ip":"192.168.101.2",'
        '"super_device_id":"37748736","rank_id":"0"}]}],'
        '"super_pod_list":[{"super_pod_id":"0","server_list":[{"server_id":"10.0.0.11"}]}]}'
    )


def parsed(found: RankTable) -> dict[str, Any]:
    assert found.document is not None
    return json.loads(found.document)


@pytest.mark.parametrize(
    ("written", "server"),
    [
        pytest.param({}, "10.0.0.11", id="address of the node, to 7.2"),
        pytest.param({"server_id": "6b1c"}, "10.0.0.11", id="uid of the pod, without the node's address"),
        pytest.param({"server_id": "6b1c", "host_ip": "10.0.0.99"}, "10.0.0.99", id="uid of the pod, from 7.3"),
    ],
)
def test_a_server_is_named_by_its_node_whatever_the_plugin_writes(written: dict[str, Any], server: str) -> None:
    (entry,) = parsed(table(job_of(replicas=1), member(0, configuration(0, **written))))["server_list"]
    assert entry["server_id"] == server
    assert "host_ip" not in entry, "HCCL would talk over the host's network card"


def on_node_0(index: int, ids: tuple[str, ...], **fields: Any) -> PodView:
    """Another pod on the node of pod 0."""
    written = {**configuration(0, ids), "pod_name": f"quick-worker-{index}", **fields}
    return member(index, written, host_address="10.0.0.11", node="node-0")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param({}, {}, id="to 7.2"),
        pytest.param(
            {"server_id": "uid-0", "host_ip": "10.0.0.11"},
            {"server_id": "uid-2", "host_ip": "10.0.0.11"},
            id="from 7.3",
        ),
    ],
)
def test_pods_on_one_node_are_one_server_with_its_ranks_in_order(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    pods = (on_node_0(0, ("0", "1"), **ours), member(1), on_node_0(2, ("2", "3"), **theirs))
    found = table(job_of(replicas=3), *pods)
    first, second = parsed(found)["server_list"]
    assert (first["server_id"], second["server_id"]) == ("10.0.0.11", "10.0.0.12")
    assert [(item["device_id"], item["rank_id"]) for item in first["device"]] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "4"),
        ("3", "5"),
    ]
    document = RankTableDocument.parse(str(found.document))
    assert document is not None
    assert [document.has_rank(4, address) for address in ADDRESSES[:3]] == [False, False, True]
    assert document.has_rank(0, ADDRESSES[0])
    assert first["container_ip"] == ADDRESSES[0]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"host_ip": "172.16.0.11"}, id="plugin updated between two pods, the node has two addresses"),
        pytest.param({"host_ip": "fd00::11"}, id="the node has addresses of both families"),
    ],
)
def test_a_node_is_one_server_whatever_its_pods_call_it(other: dict[str, Any]) -> None:
    found = table(job_of(), on_node_0(0, ("0", "1")), on_node_0(1, ("2", "3"), **other))
    (server,) = parsed(found)["server_list"]
    assert (server["server_id"], len(server["device"])) == ("10.0.0.11", 4)


def test_devices_are_in_the_order_of_their_numbers() -> None:
    ids = ("1", "10", "11", "2")  # as the plugin sorts their names
    (entry,) = parsed(table(job_of(replicas=1, devices=4), member(0, configuration(0, ids))))["server_list"]
    assert [(device["device_id"], device["rank_id"]) for device in entry["device"]] == [
        ("1", "0"),
        ("2", "1"),
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
        pytest.param(
            {
                "metadata": {"annotations": {"huawei.com/schedule_policy": "chip2-node16", "sp-block": "16"}},
                "spec": {"nodeSelector": {"accelerator-type": "module-a3-16-super-pod"}},
            },
            "1.0",
            id="policy before block and machine",
        ),
        pytest.param({"metadata": {"annotations": {"huawei.com/schedule_policy": "multilevel"}}}, "1.2", id="levels"),
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


@pytest.mark.parametrize(
    ("levels", "sizes"),
    [
        pytest.param("level1=2,level2=4", [2, 2], id="nodes of the first level"),
        pytest.param("level2=2", [4], id="no first level"),
        pytest.param("level1=many", [4], id="no number"),
    ],
)
def test_a_multilevel_job_has_the_blocks_of_its_first_level(levels: str, sizes: list[int]) -> None:
    annotations = {"huawei.com/schedule_policy": "multilevel", "huawei.com/affinity-config": levels}
    job = job_of(replicas=4, template={"metadata": {"annotations": annotations}})
    found = parsed(table(job, *(member(index) for index in range(4))))["super_pod_list"]
    assert [len(entry["server_list"]) for entry in found] == sizes


@pytest.mark.parametrize("given", ["-2", None])
def test_a_card_without_its_number_in_the_super_pod_is_named(given: str | None) -> None:
    pod = member(1, configuration(1, devices=[device(1, 0), device(1, 1, super_device_id=given)]))
    found = table(in_super_pods(), member(0), pod)
    assert found.problem == "the device plugin does not know the super_device_id (-2) of a card of quick-worker-1"


def without(address: str, index: int) -> PodView:
    """A pod with a card of which the plugin knows this address only."""
    return member(index, configuration(index, devices=[device(index, 0), device(index, 1, device_ip=address)]))


@pytest.mark.parametrize(
    ("job", "pods", "is_complete"),
    [
        pytest.param(job_of(), (member(0), without("-1", 1)), False, id="1.0, could not be read"),
        pytest.param(job_of(), (member(0), without("", 1)), False, id="1.0, has none"),
        pytest.param(job_of(replicas=1), (without("-1", 0),), True, id="1.0 on one server, could not be read"),
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
    if is_complete:
        cards = [card for server in parsed(found)["server_list"] for card in server["device"]]
        assert ["device_ip" in card for card in cards] == [True] * (len(cards) - 1) + [False]
    else:
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
    return member(index, configuration(index, devices=[device(index, int(n), device_ip="127.0.0.1") for n in ids]))


def test_cards_of_one_server_need_no_address_of_their_own() -> None:
    assert table(job_of(replicas=1), loopback(0)).document is not None
    assert table(in_super_pods(), loopback(0), loopback(1)).document is not None


def test_an_address_that_no_other_server_reaches_is_unknown() -> None:
    found = table(job_of(), member(0), loopback(1))
    assert found.problem == "the device plugin does not know the network address of a card of quick-worker-1"


REFUSED = "HCCL would refuse the rank table:"
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
        pytest.param(
            member(1, configuration(1, ("3", "3"))), f"{REFUSED} server 10.0.0.12: device 3 is that of", id="card twice"
        ),
        pytest.param(
            on_node_0(1, ("1", "2")), f"{REFUSED} server 10.0.0.11: device 1 is that of ranks 1 and 2", id="shared card"
        ),
        pytest.param(
            member(1, annotations={"ascend.kubectl.kubernetes.io/ascend-npu-configuration": "{}"}),
            "pod quick-worker-1: the device plugin wrote ascend.kubectl.kubernetes.io/ascend-npu-configuration: cards "
            "of A5 (950) take rank table 2.0, which is not supported yet",
            id="plugin for newer cards",
        ),
        pytest.param(
            member(1, annotations={"cce.kubectl.kubernetes.io/ascend-1980-configuration": "{}"}),
            "pod quick-worker-1: the device plugin wrote cce.kubectl.kubernetes.io/ascend-1980-configuration, the "
            f"operator reads {NAME}: set ascend.deviceAnnotation",
            id="plugin of another name",
        ),
        pytest.param(
            member(
                1,
                configuration(1, devices=[device(1, 0, device_ip="10.0.0.1"), device(1, 1, device_ip="10.0.0.1")]),
            ),
            f"{REFUSED} device_ip 10.0.0.1 is that of two devices",
            id="address twice",
        ),
        pytest.param(member(1, configuration(1, server_id="")), READABLE, id="nameless server"),
        pytest.param(
            replace(member(1), index=0), f"{REFUSED} rank_id 0 is that of two devices", id="rank of another pod"
        ),
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


def test_a_card_beyond_those_of_the_selected_machine_is_named() -> None:
    job = job_of(replicas=1, template={"spec": {"nodeSelector": {"accelerator-type": "module"}}})
    found = table(job, member(0, configuration(0, ("7", "8"))))
    assert found.problem == f"{REFUSED} rank 1: device_id 8 is above 7, the highest of its chip"


def test_pods_that_share_a_910a_node_must_make_up_rings_together() -> None:
    job = job_of(replicas=3, template={"spec": {"nodeSelector": {"accelerator-type": "module"}}})
    found = table(job, *(on_node_0(index, (str(2 * index), str(2 * index + 1))) for index in range(3)))
    assert found.problem == (f"{REFUSED} server 10.0.0.11 has 6 cards of the job, must be 1, 2, 4 or 8 on a 910A")


def test_an_annotation_of_a_newer_plugin_is_read() -> None:
    levels = [{"level": 0, "info": {"UB": {"net_layer": 0}}}]
    newer = {"host_ip": "10.0.0.12", "super_pod_id": -2, "rack_id": -2, "server_index": "-2", "server_ip": "10.0.0.12"}
    cards = [device(1, number, levelList=levels) for number in (0, 1)]
    assert table(job_of(), member(0), member(1, {**configuration(1, devices=cards), **newer})).document is not None


def test_the_annotations_name_is_a_setting() -> None:
    settings = Settings(device_annotation="example.com/devices")
    pods = tuple(
        member(index, annotations={"example.com/devices": json.dumps(configuration(index))}) for index in (0, 1)
    )
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), settings, NOW)
    assert isinstance(plan.actions[0], Apply)


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
        pytest.param(
            (member(0), member(1)),
            ("False", "Publishing", "the cards of all ranks are known, the table is being written"),
            id="complete and not written",
        ),
    ],
)
def test_the_condition_tells_how_the_table_is(pods: tuple[PodView, ...], condition: tuple[str, str, str]) -> None:
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, NOW)
    assert ready_condition(plan) == condition
    assert plan.status.rank_table is not None
    assert plan.status.rank_table.state == "initializing"
    assert plan.actions == () or condition[1] == "Publishing"


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


def test_a_table_that_all_pods_know_is_complete_and_left_alone() -> None:
    pods = touched(member(0), member(1))
    plan = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(-60))
    assert plan.actions == ()
    assert ready_condition(plan) == ("True", "Completed", "all ranks are in it")
    assert plan.status.rank_table == RankTableStatus(state="completed", ready=4, total=4)


def test_a_table_that_a_pod_has_not_been_told_of_may_not_have_been_written() -> None:
    one, _ = touched(member(0), member(1))
    plan = decide(observation_in("Starting", starting(), {"pods": (one, member(1))}), SETTINGS, NOW)
    assert ready_condition(plan)[:2] == ("False", "Publishing")
    assert [type(action) for action in plan.actions] == [Apply, Annotate]


def test_a_look_at_a_table_that_all_pods_know_reads_no_annotation() -> None:
    pods = touched(member(0), member(1))
    parse_configuration.cache_clear()
    decide(observation_in("Training", starting(), {"pods": pods}), SETTINGS, NOW)
    assert parse_configuration.cache_info().misses == 0


def test_what_is_written_on_a_pod_is_read_once_however_often_a_gang_is_looked_at() -> None:
    parse_configuration.cache_clear()
    _cards.cache_clear()
    for _ in range(3):
        table(job_of(replicas=3), member(0), member(1), member(2, annotations={}))
    assert (parse_configuration.cache_info().misses, _cards.cache_info().misses) == (2, 2)
    for _ in range(3):  # the first of these completes the table: it has but one pod's cards to make
        assert table(job_of(replicas=3), *(member(index) for index in range(3))).document is not None
    assert (parse_configuration.cache_info().misses, _cards.cache_info().misses) == (3, 3)


def test_a_table_that_has_changed_is_written_again() -> None:
    one, other = touched(member(0), member(1))
    moved = member(1, annotations=other.annotations, address="10.244.9.9")
    plan = decide(observation_in("Starting", starting(), {"pods": (one, moved)}), SETTINGS, NOW)
    assert [type(action) for action in plan.actions] == [Apply, Annotate, Annotate]


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        pytest.param({}, "the rank table waits for quick-worker-0, quick-worker-1", id="waits"),
        pytest.param(
            {NAME: "{"},
            "there is no rank table: pod quick-worker-0: the device plugin's annotation cannot be read (",
            id="cannot be right",
        ),
    ],
)
def test_a_start_without_a_table_says_in_the_end_why(annotations: dict[str, str], why: str) -> None:
    pods = tuple(member(index, annotations=annotations, created=ago(4000)) for index in range(2))
    first = decide(observation_in("Starting", starting(), {"pods": pods}), SETTINGS, ago(3000)).status
    ready = Condition(type="Ready", status="True", reason="Ready", message="", last_transition_time=ago(1800))
    told = [item for item in first.conditions if item.type != "Ready"]
    waiting = starting(rank_table=first.rank_table, conditions=[*told, ready])
    failure = decide(observation_in("Starting", waiting, {"pods": pods}), SETTINGS, NOW).status.failure
    assert failure is not None
    assert failure.reason == "StartupDeadlineExceeded"
    assert why in failure.message


def test_an_ascend_job_may_meet_without_a_table() -> None:
    job = job_of(rendezvous="dynamic").model_copy(update={"status": status_in("Starting", attempt=0)})
    plan = decide(observation_in("Starting", job, {"pods": (make_worker(0), make_worker(1))}), SETTINGS, NOW)
    assert plan.status.rank_table is None
    assert plan.actions == ()


def test_a_job_whose_table_fits_into_no_config_map_is_refused_before_anything_is_taken() -> None:
    plan = decide(observation_in(None, job_of(replicas=2048, devices=8), {}), SETTINGS, NOW)
    assert plan.status.phase == "Failed"
    assert not any(isinstance(action, Apply | Create) for action in plan.actions)
    (failed,) = [item for item in plan.status.conditions if item.type == "Failed"]
    assert failed.message.startswith("spec.workers: the rank table of 2048 x 8 ranks has up to 1,253,505 bytes")
