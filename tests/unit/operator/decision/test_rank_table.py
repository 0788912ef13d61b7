"""hccl.json from the device plugin's annotations: its bytes, servers, ranks and super pods."""

from typing import Any

import pytest

from arcface_api.contract.rank_table import RankTableDocument
from arcface_operator.decision.device_annotation import parse_configuration
from arcface_operator.decision.rank_table import _cards
from support.builders.rank_tables import (
    ADDRESSES,
    configuration,
    device,
    in_super_pods,
    job_of,
    member,
    on_node_0,
    parsed,
    table,
)


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


def test_two_pods_on_one_node_may_have_different_cards() -> None:
    one, other = member(0), member(1, configuration(1, ("2", "3"), server_id="10.0.0.11"), node="node-0")
    assert table(job_of(), one, other).document is not None


def test_an_annotation_of_a_newer_plugin_is_read() -> None:
    levels = [{"level": 0, "info": {"UB": {"net_layer": 0}}}]
    newer = {"host_ip": "10.0.0.12", "super_pod_id": -2, "rack_id": -2, "server_index": "-2", "server_ip": "10.0.0.12"}
    cards = [device(1, number, levelList=levels) for number in (0, 1)]
    assert table(job_of(), member(0), member(1, {**configuration(1, devices=cards), **newer})).document is not None


def test_what_is_written_on_a_pod_is_read_once_however_often_a_gang_is_looked_at() -> None:
    parse_configuration.cache_clear()
    _cards.cache_clear()
    for _ in range(3):
        table(job_of(replicas=3), member(0), member(1), member(2, annotations={}))
    assert (parse_configuration.cache_info().misses, _cards.cache_info().misses) == (2, 2)
    for _ in range(3):  # the first of these completes the table: it has but one pod's cards to make
        assert table(job_of(replicas=3), *(member(index) for index in range(3))).document is not None
    assert (parse_configuration.cache_info().misses, _cards.cache_info().misses) == (3, 3)
