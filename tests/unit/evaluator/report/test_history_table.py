"""The names by which trainings are told apart."""

import os
from pathlib import Path

import pytest

from arcface_api.contract.history import History
from arcface_evaluator.report import history_table


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        pytest.param(["/ck"], ["ck"], id="one"),
        pytest.param(["/ck", "/old/ck"], ["ck", "old/ck"], id="beside the root"),
        pytest.param(["/x/a/ck", "/y/a/ck", "/x/a/ck"], ["x/a/ck", "y/a/ck"], id="deeper, one twice"),
        pytest.param([b"/x/\xff\n"], [r"\udcff\n"], id="no text"),
    ],
)
def test_names_are_relative_paths_and_text(monkeypatch, paths, names):
    """Event files go into folders of these names: an absolute one would lead out of the folder that was named."""
    monkeypatch.setattr(History, "read", lambda path: History([], [], 0, path))
    read = history_table.read_histories([Path(os.fsdecode(path)) for path in paths])
    assert list(read) == names
