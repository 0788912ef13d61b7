from pathlib import Path

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.local.workdir import locked_workdir


def test_two_runs_in_one_directory_are_refused(tmp_path: Path) -> None:
    with locked_workdir(tmp_path), pytest.raises(InvalidInput) as caught, locked_workdir(tmp_path):
        pass
    assert str(caught.value) == f"{tmp_path}: in use by another run; stop that one or give another --workdir"


def test_the_directory_is_free_again_after_the_run(tmp_path: Path) -> None:
    with locked_workdir(tmp_path / "new"):
        pass
    with locked_workdir(tmp_path / "new") as workdir:
        assert workdir.pods.is_dir()
        assert workdir.logs.is_dir()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="give another directory with --workdir"), locked_workdir(tmp_path / "file"):
        pass
