import json

import pytest

from arcface_operator.local.kubelet.path_mapping import relocate, relocate_file

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
