"""Waiting for other pods: files that appear, change and lie."""

import json
import logging
import threading
from pathlib import Path

import pytest

from arcface_api.contract.launcher_words import LaunchCall
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import InvalidInput
from arcface_trainer.pod.rendezvous import MeetingPoint, meet, wait_for

POD = {"MS_NODE_ID": "2", "MS_WORKER_NUM": "4", "POD_IP": "10.0.0.7", "ARCFACE_ATTEMPT": "1"}


def identity(**environment: str) -> RankIdentity:
    return RankIdentity.from_environment({**POD, **environment})


def server(address: str | None, first_rank: int) -> dict[str, object]:
    devices = [
        {"device_id": str(n), "device_ip": f"10.1.{n}.{first_rank + 1}", "rank_id": str(first_rank + n)}
        for n in range(2)
    ]
    found = {"server_id": f"10.0.1.{first_rank}", "device": devices}
    return found if address is None else {**found, "container_ip": address}


def table(first: str | None = "10.0.0.5", second: str | None = "10.0.0.7", **fields: str) -> str:
    return json.dumps({"status": "completed", **fields, "server_list": [server(first, 0), server(second, 2)]})


def test_a_rank_alone_meets_nobody() -> None:
    assert meet(identity(MS_NODE_ID="0", MS_WORKER_NUM="1", RANK_TABLE_FILE="/never/written")) is None


def test_the_pod_of_rank_0_is_itself_where_the_ranks_meet(tmp_path: Path) -> None:
    first = identity(MS_NODE_ID="0", ARCFACE_SCHEDULER_FILE=str(tmp_path / "never-written"))
    assert meet(first) == MeetingPoint("10.0.0.7")
    assert meet(identity(MS_NODE_ID="0")) == MeetingPoint("10.0.0.7")


def test_the_others_wait_for_the_file(tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text("")  # how an annotation that is not there yet appears
    threading.Timer(0.1, lambda: file.write_text("10.0.0.5\n")).start()
    assert meet(identity(ARCFACE_SCHEDULER_FILE=str(file))) == MeetingPoint("10.0.0.5")


def test_without_file_and_table_the_missing_variable_is_named() -> None:
    with pytest.raises(InvalidInput, match="ARCFACE_SCHEDULER_FILE is not set"):
        meet(identity())


@pytest.mark.parametrize("rank", ["0", "2"])
def test_the_table_tells_where_rank_0_is(tmp_path: Path, rank: str) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(table())
    address = {"0": "10.0.0.5", "2": "10.0.0.7"}[rank]
    assert meet(identity(MS_NODE_ID=rank, POD_IP=address, RANK_TABLE_FILE=str(path))) == MeetingPoint("10.0.0.5")


@pytest.mark.parametrize(("first_rank", "super_pod"), [("0", "0"), ("2", "0"), ("4", "1")])
def test_the_table_tells_the_super_pod_of_the_node_whichever_pods_share_it(
    tmp_path: Path, first_rank: str, super_pod: str
) -> None:
    """Pods of ranks 0 and 2 are on one node, which is in one super pod however small the job's blocks."""
    cards = [
        {"device_id": str(n % 4), "device_ip": f"10.1.0.{n + 1}", "rank_id": str(n), "super_device_id": str(n % 4)}
        for n in range(6)
    ]
    shared = [*cards[:2], *({**card, "container_ip": "10.0.0.7"} for card in cards[2:4])]
    servers = [
        {"server_id": "10.0.1.0", "container_ip": "10.0.0.5", "device": shared},
        {"server_id": "10.0.1.4", "container_ip": "10.0.0.9", "device": cards[4:]},
    ]
    pods = [{"super_pod_id": str(n), "server_list": [{"server_id": f"10.0.1.{4 * n}"}]} for n in range(2)]
    document = {"status": "completed", "version": "1.2", "server_list": servers, "super_pod_list": pods}
    path = tmp_path / "hccl.json"
    path.write_text(json.dumps(document))
    address = {"0": "10.0.0.5", "2": "10.0.0.7", "4": "10.0.0.9"}[first_rank]
    pod = identity(MS_NODE_ID=first_rank, MS_WORKER_NUM="6", POD_IP=address, RANK_TABLE_FILE=str(path))
    assert meet(pod) == MeetingPoint("10.0.0.5", super_pod)


def test_a_table_by_hand_need_not_name_addresses_to_rank_0_but_to_the_others(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(table(first=None, second=None))
    assert meet(identity(MS_NODE_ID="0", RANK_TABLE_FILE=str(path))) == MeetingPoint("10.0.0.7")
    with pytest.raises(InvalidInput, match="'' for rank 0 is no IP address"):
        meet(identity(RANK_TABLE_FILE=str(path)))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fd00::1%a\nb", "1\u0660.0.0.5"])
def test_an_address_is_one_and_nothing_beside_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "address").write_text(text)
    with pytest.raises(InvalidInput, match="for rank 0 is no IP address: the operator writes it"):
        meet(identity(ARCFACE_SCHEDULER_FILE=str(tmp_path / "address")))


def test_mindspore_takes_no_names(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(table(first="worker-0.job"))
    with pytest.raises(InvalidInput, match=r"hccl.json: 'worker-0.job' for rank 0 is no IP address"):
        meet(identity(RANK_TABLE_FILE=str(path)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(table(status="initializing"), id="initializing"),
        pytest.param(table(second="10.0.0.6"), id="of the pods before a restart"),
        pytest.param(table(attempt="0"), id="of the pods before a restart, in their nodes' network"),
        pytest.param(json.dumps({"status": "completed", "server_list": [server("10.0.0.7", 0)]}), id="of other ranks"),
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[]", id="other JSON"),
        pytest.param('{"status": "completed", "server_list": [7]}', id="odd servers"),
    ],
)
def test_only_a_complete_table_with_this_pod_counts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(text)
    threading.Timer(0.1, lambda: path.write_text(table())).start()
    assert meet(identity(RANK_TABLE_FILE=str(path))) == MeetingPoint("10.0.0.5")


def test_a_table_that_hccl_would_not_take_ends_the_pod_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(table().replace("10.0.1.2", "10.0.1.0"))
    with pytest.raises(InvalidInput, match=r"hccl\.json: server_id 10\.0\.1\.0 is that of two servers: .*: HCCL takes"):
        meet(identity(RANK_TABLE_FILE=str(path)))


def test_a_long_wait_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([None, None, "there"])
    with caplog.at_level(logging.INFO):
        assert wait_for(lambda: next(looks), "nobody is here", reminder_seconds=0.0) == "there"
    assert [record.message for record in caplog.records] == ["waiting: nobody is here", "still waiting: nobody is here"]


@pytest.mark.parametrize("lie", [table(), table(launch="1"), table(launch="3"), table(attempt="0", launch="2")])
def test_after_a_new_pod_only_the_table_of_that_launch_counts(tmp_path: Path, lie: str) -> None:
    """A kubelet may still show the one before; in the nodes' network a new pod has the address of the one before it."""
    path = tmp_path / "hccl.json"
    path.write_text(lie)
    threading.Timer(0.1, lambda: path.write_text(table(attempt="1", launch="2"))).start()
    call = LaunchCall(2, is_anew=True)
    assert meet(identity(RANK_TABLE_FILE=str(path)), lambda: call) == MeetingPoint("10.0.0.5", launch=2)


def test_a_new_pod_of_rank_0_is_itself_where_the_ranks_meet() -> None:
    call = LaunchCall(2, is_anew=True)
    assert meet(identity(MS_NODE_ID="0"), lambda: call) == MeetingPoint("10.0.0.7", launch=2)
