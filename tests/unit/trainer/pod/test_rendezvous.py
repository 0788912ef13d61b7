"""Waiting for other pods: files that appear, change and lie."""

import json
import threading
from pathlib import Path

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_trainer.pod.rendezvous import await_rank_table, is_mine, scheduler_address, wait_for

POD = {"MS_NODE_ID": "2", "MS_WORKER_NUM": "4", "POD_IP": "10.0.0.7", "MS_SCHED_HOST": "127.0.0.1"}


def identity(**environment: str) -> RankIdentity:
    return RankIdentity.from_environment({**POD, **environment})


def table(status: str = "completed", address: str = "10.0.0.7", first_rank: int = 2) -> str:
    servers = [
        {
            "server_id": f"10.0.1.{place}",
            "container_ip": address if place == 1 else "10.0.0.5",
            "device": [
                {"device_id": str(n), "device_ip": f"10.1.{n}.{place}", "rank_id": str(rank + n)} for n in range(2)
            ],
        }
        for place, rank in enumerate((2 - first_rank, first_rank))
    ]
    return json.dumps({"status": status, "version": "1.0", "server_count": "2", "server_list": servers})


def test_the_pod_of_rank_0_is_itself_where_the_ranks_meet(tmp_path: Path) -> None:
    first = identity(MS_NODE_ID="0", ARCFACE_SCHEDULER_FILE=str(tmp_path / "never-written"))
    assert scheduler_address(first) == "10.0.0.7"


def test_the_others_wait_for_the_file(tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text("")  # how an annotation that is not there yet appears
    threading.Timer(0.1, lambda: file.write_text("10.0.0.5\n")).start()
    assert scheduler_address(identity(ARCFACE_SCHEDULER_FILE=str(file))) == "10.0.0.5"


def test_without_a_file_the_name_is_resolved() -> None:
    assert scheduler_address(identity()) == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(table(), True, id="complete"),
        pytest.param(table(status="initializing"), False, id="initializing"),
        pytest.param(table(address="10.0.0.6"), False, id="of the pods before a restart"),
        pytest.param(table(first_rank=0), False, id="of other ranks"),
        pytest.param("", False, id="empty"),
        pytest.param("{", False, id="half"),
        pytest.param("[]", False, id="other JSON"),
        pytest.param('{"status": "completed", "server_list": [7]}', False, id="odd servers"),
        pytest.param(
            json.dumps({"status": "completed", "server_list": [{"device": [{"rank_id": "2"}]}]}), True, id="by hand"
        ),
    ],
)
def test_only_a_complete_table_with_this_pod_counts(tmp_path: Path, text: str, expected: bool) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(text)
    assert is_mine(path, identity()) is expected


def test_the_table_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    threading.Timer(0.1, lambda: path.write_text(table())).start()
    await_rank_table(path, identity())


def test_a_table_that_hccl_would_not_take_ends_the_pod_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text(table().replace("10.0.1.1", "10.0.1.0"))
    with pytest.raises(InvalidInput, match=r"hccl\.json: server_id 10\.0\.1\.0 is that of two servers: .*: HCCL takes"):
        await_rank_table(path, identity())


def test_patience_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArcFaceError, match=r"no address: is rank 0 running\? \(waited 0 s\)"):
        wait_for(lambda: None, "no address: is rank 0 running?", seconds=0.0)
