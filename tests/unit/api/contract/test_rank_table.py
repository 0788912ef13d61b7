"""What a reader of rank tables takes, whoever wrote them."""

import json
from typing import Any

import pytest

from arcface_api.contract.rank_table import INITIALIZING, RankTableDocument

DEVICE = {"device_id": "0", "device_ip": "192.168.1.2", "rank_id": "2"}
SERVER = {"server_id": "10.0.0.11", "container_ip": "10.244.1.7", "device": [DEVICE]}
TABLE = {"status": "completed", "version": "1.0", "server_count": "1", "server_list": [SERVER]}


def has_rank(table: dict[str, Any], rank: int = 2, address: str = "10.244.1.7", attempt: int | None = None) -> bool:
    document = RankTableDocument.parse(json.dumps(table))
    return document is not None and document.has_rank(rank, address, attempt)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(TABLE, id="as MindX writes it"),
        pytest.param({**TABLE, "server_count": 1, "version": 1.2}, id="numbers for texts"),
        pytest.param({**TABLE, "server_list": [{**SERVER, "server_id": 7}]}, id="a number for the server"),
        pytest.param(
            {**TABLE, "server_list": [{**SERVER, "device": [{**DEVICE, "device_id": 0, "rank_id": 2}]}]},
            id="numbers for card and rank",
        ),
        pytest.param({**TABLE, "server_list": [{"device": [{"rank_id": "2"}]}]}, id="only what is looked at"),
        pytest.param({**TABLE, "super_pod_list": [{}], "group_count": 3, "x": {}}, id="parts that nobody knows"),
    ],
)
def test_a_rank_finds_itself(table: dict[str, Any]) -> None:
    assert has_rank(table)


def test_another_rank_or_pod_is_not_it() -> None:
    assert not has_rank(TABLE, rank=3)
    assert not has_rank(TABLE, address="10.244.1.8")
    assert not has_rank({**TABLE, "status": "initializing"})


def test_a_table_is_of_an_attempt_where_both_sides_count_them() -> None:
    assert has_rank(TABLE, attempt=3)
    assert has_rank({**TABLE, "attempt": "3"})
    assert has_rank({**TABLE, "attempt": "3"}, attempt=3)
    assert not has_rank({**TABLE, "attempt": "2"}, attempt=3)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"status": "done"}', '{"server_list": [7]}'])
def test_what_is_no_table_is_none(text: str) -> None:
    assert RankTableDocument.parse(text) is None


def test_the_table_while_ranks_are_missing() -> None:
    assert json.loads(INITIALIZING) == {"status": "initializing"}
