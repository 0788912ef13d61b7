from pathlib import Path

import pytest
import yaml

from arcface_api.__main__ import FILE, main
from arcface_api.resource.crd import custom_resource_definition

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_committed_file_is_what_the_types_say(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_written_file_is_the_definition_and_passes_the_check(root):
    assert main([]) == 0
    assert yaml.safe_load((root / FILE).read_text()) == custom_resource_definition()
    assert main(["--check"]) == 0


def test_check_names_a_file_that_differs_in_one_line_and_leaves_it_alone(root, capsys):
    main([])
    (root / FILE).write_text("old\n")
    assert main(["--check"]) == 1
    assert (
        capsys.readouterr().err
        == "crds/arcface.io_arcfacetrainingjobs.yaml: is not what the types say: run `make crds`\n"
    )
    assert (root / FILE).read_text() == "old\n"


def test_check_fails_where_the_file_is_missing(root):
    assert main(["--check"]) == 1
    assert not (root / FILE).exists()


def test_other_arguments_are_refused(root, capsys):
    assert main(["--chekc"]) == 2
    assert capsys.readouterr().err == "usage: python -m arcface_api [--check]\n"
