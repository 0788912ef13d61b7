"""What HCCL demands of a rank table: one sentence for each fault."""

from typing import Any

import pytest

from arcface_api.contract.rank_table import RankTableDocument
from arcface_api.contract.rank_table_rules import check_rank_table, machine_faults, rank_table_faults
from arcface_api.errors import InvalidInput


def device(rank: int, **fields: Any) -> dict[str, Any]:
    default = {"device_id": str(rank % 2), "device_ip": f"192.168.10{rank % 2 + 1}.{rank // 2 + 2}"}
    return {**default, "rank_id": str(rank), "super_device_id": str(1000 + rank), **fields}


def server(place: int, *devices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    address = f"10.0.0.{11 + place}"
    cards = list(devices) or [device(2 * place), device(2 * place + 1)]
    default = {"server_id": address, "host_ip": address, "container_ip": f"10.244.{place}.7", "device": cards}
    return {**default, **fields}


def table(*servers: dict[str, Any], **fields: Any) -> RankTableDocument:
    """Two servers with two cards each, but for what is given."""
    found = list(servers) or [server(0), server(1)]
    default = {"status": "completed", "version": "1.0", "server_count": str(len(found)), "server_list": found}
    return RankTableDocument.model_validate({**default, **fields})


def in_super_pods(*super_pods: list[int], servers: tuple[dict[str, Any], ...] = (), **fields: Any) -> RankTableDocument:
    """The same as version 1.2, each super pod given by the places of its servers."""
    pods = [
        {"super_pod_id": str(number), "server_list": [{"server_id": f"10.0.0.{11 + place}"} for place in places]}
        for number, places in enumerate(super_pods or ([0, 1],))
    ]
    return table(*servers, **{"version": "1.2", "super_pod_list": pods, **fields})


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(table(), id="two servers"),
        pytest.param(in_super_pods(), id="one super pod"),
        pytest.param(in_super_pods([0], [1]), id="two super pods"),
        pytest.param(table(server(0, device(0, device_ip=None))), id="one server without addresses"),
        pytest.param(
            in_super_pods(servers=(server(0, device(0, device_ip=None)), server(1, device(1, device_ip=None)))),
            id="one super pod without addresses",
        ),
        pytest.param(table(server(0, host_ip=None), server(1)), id="no address of the node"),
        pytest.param(table(server(0, server_id="x" * 64), server(1)), id="longest name of a server"),
        pytest.param(table(server(0, device(0, device_ip="192.168.1.1,192.168.2.1"))), id="card with two ports"),
        pytest.param(table(server(0, device(0, device_ip=None), device(1))), id="one server, one address"),
        pytest.param(table(server(0, device(0, backup_device_ip="192.168.1.9"))), id="keys that we do not write"),
        pytest.param(table(server_count=None, version=None), id="left out by hand"),
        pytest.param(
            in_super_pods([0], [1], servers=(server(0, device(0)), server(1, device(1, super_device_id="1000")))),
            id="the same super device in another super pod",
        ),
    ],
)
def test_what_hccl_takes_has_no_fault(sound: RankTableDocument) -> None:
    assert list(rank_table_faults(sound)) == []


ONE_SUPER_POD_TWICE = [{"super_pod_id": "0", "server_list": [{"server_id": f"10.0.0.{11 + n}"}]} for n in range(2)]


@pytest.mark.parametrize(
    ("faulty", "sentence"),
    [
        (table(version="1.1"), "version is '1.1', must be 1.0, or 1.2 with super pods"),
        (table(version="2.0"), "version is '2.0', must be 1.0, or 1.2 with super pods"),
        (table(server_list=[], server_count="0"), "server_list is empty"),
        (table(server_count="3"), "server_count is '3', server_list has 2"),
        (table(server(0, server_id=""), server(1)), "server_list[0] has no server_id"),
        (
            table(server(0, server_id="x" * 65), server(1)),
            f"server_id '{'x' * 65}' is longer than 64 characters",
        ),
        (
            table(server(0), server(1, server_id="10.0.0.11")),
            "server_id 10.0.0.11 is that of two servers: all cards of a node belong into one",
        ),
        (table(server(0, host_ip="node-0"), server(1)), "server 10.0.0.11: host_ip 'node-0' is no IP address"),
        (table(server(0), server(1), server(2, device=[])), "server 10.0.0.13 has no device"),
        (table(server(0, device(0, device_id="-1"))), "rank 0: device_id '-1' is no number"),
        (
            table(server(0, device(0), device(1, device_id="0"))),
            "server 10.0.0.11: device 0 is that of ranks 0 and 1",
        ),
        (table(server(0, device(0), device(1, rank_id="x"))), "rank_id 'x' is no number"),
        (table(server(0, device(0), device(1, rank_id="0"))), "rank_id 0 is that of two devices"),
        (table(server(0, device(0), device(1, rank_id="2"))), "rank_id 1 is missing among 2 devices"),
        (
            table(server(0), server(1, device(2, device_ip=None), device(3))),
            "rank 2 has no device_ip, which several servers need",
        ),
        (
            in_super_pods([0], [1], servers=(server(0), server(1, device(2, device_ip=""), device(3)))),
            "rank 2 has no device_ip, which several servers need",
        ),
        (table(server(0, device(0, device_ip="-1"))), "rank 0: device_ip '-1' is no IP address"),
        (table(server(0, device(0, device_ip="127.0.0.1"))), "rank 0: device_ip 127.0.0.1 is for virtual devices only"),
        (
            table(server(0, device(0), device(1, device_ip="192.168.101.2"))),
            "device_ip 192.168.101.2 is that of two devices",
        ),
        (
            table(server(0, device(0), device(1, device_ip="192.168.1.1,192.168.2.1"))),
            "rank 0 has 1 addresses in device_ip, rank 1 has 2: all must have as many",
        ),
        (in_super_pods([0]), "server 10.0.0.12 is 0 times in super_pod_list, must be once"),
        (in_super_pods([0, 1], [1]), "server 10.0.0.12 is 2 times in super_pod_list, must be once"),
        (in_super_pods([0, 1, 2]), "server 10.0.0.13 of super_pod_list is not in server_list"),
        (in_super_pods(super_pod_list=ONE_SUPER_POD_TWICE), "super_pod_id 0 is that of two super pods"),
        (
            in_super_pods(super_pod_list=[{**ONE_SUPER_POD_TWICE[0], "super_pod_id": ""}], servers=(server(0),)),
            "a super pod has no super_pod_id",
        ),
        (
            in_super_pods([0], servers=(server(0, device(0, super_device_id="-2")),)),
            "rank 0: super_device_id is '-2', must be a number from 0",
        ),
        (
            in_super_pods([0], servers=(server(0, device(0, super_device_id=None)),)),
            "rank 0: super_device_id is None, must be a number from 0",
        ),
        (
            in_super_pods(servers=(server(0, device(0)), server(1, device(1, super_device_id="1000")))),
            "super pod 0: super_device_id 1000 is that of two devices",
        ),
    ],
)
def test_each_fault_is_one_sentence(faulty: RankTableDocument, sentence: str) -> None:
    assert next(rank_table_faults(faulty)) == sentence


def test_a_chip_may_have_fewer_cards() -> None:
    high = table(server(0, device(0, device_id="7"), device(1, device_id="8")))
    assert list(rank_table_faults(high)) == []
    sentence = "rank 1: device_id 8 is above 7, the highest of its chip"
    assert [list(machine_faults(high, machine)) for machine in ("module", "card")] == [[sentence], [sentence]]
    assert list(machine_faults(high, "module-910b-16")) == []


def test_hccs_of_a_910a_joins_1_2_4_or_8_cards() -> None:
    three = table(server(0, *(device(rank, device_id=str(rank)) for rank in range(3))))
    assert list(machine_faults(three, "module")) == [
        "server 10.0.0.11 has 3 cards of the job, must be 1, 2, 4 or 8 on a 910A"
    ]
    assert list(machine_faults(three, "card")) == list(machine_faults(three, "module-910b-8")) == []


def test_servers_with_a_910a_have_as_many_cards_each() -> None:
    """As where two of a job's pods share a node and the third one has a node of its own."""
    uneven = table(server(0, device(0), device(1, device_id="1")), server(1, device(2)))
    assert list(machine_faults(uneven, "module")) == [
        "servers 10.0.0.11 and 10.0.0.12 have 2 and 1 cards of the job, must be as many on all servers with a 910A: "
        "keep pods apart by workers.template"
    ]
    assert len(list(machine_faults(uneven, "card"))) == 1
    assert list(machine_faults(uneven, "module-910b-8")) == list(rank_table_faults(uneven)) == []


def test_who_reads_a_faulty_table_says_where_it_came_from() -> None:
    check_rank_table(table(), "hccl.json")
    with pytest.raises(InvalidInput, match=r"^hccl\.json: server_count is '3', server_list has 2: HCCL takes no such"):
        check_rank_table(table(server_count="3"), "hccl.json")


@pytest.mark.parametrize("number", ["²", "9" * 5000, "4294967296", " 1", "+1"])
def test_only_plain_numbers_of_32_bits_are_numbers(number: str) -> None:
    (sentence,) = rank_table_faults(table(server(0, device(0, device_id=number))))
    assert sentence.startswith("rank 0: device_id")
