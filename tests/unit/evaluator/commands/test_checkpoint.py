"""What checkpoints hold, which are damaged, and one written anew, from the command line."""

import errno
import hashlib
import json
import os
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from arcface_api import errors
from arcface_api.command import run
from arcface_evaluator.commands.checkpoint import checkpoint
from arcface_faces.checkpoint import BACKBONE_FILE, MANIFEST_FILE, MOMENTUM_FILE
from arcface_faces.checkpoint_writing import write_tensors
from support.builders.saved_states import flip_the_last_bit, rewrite_manifest, saving
from support.builders.verifications import found

HEAD_FILE = "head-000000000.safetensors"


@pytest.fixture
def folder(tmp_path):
    save = saving(tmp_path)
    save(4)
    save(8, last=found(8, 0.75), best=found(8, 0.75))
    return tmp_path


def done(*words):
    ended = CliRunner(env={"COLUMNS": "40"}).invoke(checkpoint, [str(word) for word in words], catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.output


def refused(capsys, *words):
    """What is printed on the way, and the one line of the error."""
    assert run(["checkpoint", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    return told.out.splitlines(), told.err


def test_a_checkpoint_is_told_with_its_recipe_and_files(folder):
    path = folder / "step-00000008"
    source = {"job": "large", "step": 4000, "sha256": "ab" * 32, "head": "means"}
    recipe = {"model.width": 0.5, "totalBatchSize": 4}
    rewrite_manifest(path, lambda document: document.update(recipe=recipe, source=source))
    lines = [" ".join(line.split()) for line in done("show", path).splitlines()]
    assert "step 8 of 100, epoch 0" in lines
    assert "trained on 50 images of 10 identities" in lines
    assert "best step 8: set-0 0.75000" in lines
    assert "recipe model.width 0.5" in lines
    assert "began with step 4,000 of large (abababababab...), its head means" in lines
    (head,) = [line for line in lines if HEAD_FILE in line]
    assert "0 to 9" in head


def test_embeddings_that_are_kept_beside_a_checkpoint_are_told_with_their_size(folder):
    path = folder / "step-00000008"
    assert "embeddings" not in done("show", path)
    for name, size in (("IJBB", 2**19), ("IJBC", 3 * 2**19)):
        part = path / "embeddings" / name / "0123" / "00000000-00000020.npy"
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(size))
    lines = [" ".join(line.split()) for line in done("show", path).splitlines()]
    assert [line for line in lines if line.startswith("embeddings")] == [
        "embeddings IJBB, 0.5 MiB",
        "embeddings IJBC, 1.5 MiB",
    ]


def test_of_a_folder_each_checkpoint_is_told_and_what_is_incomplete(folder):
    (folder / "step-00000004" / BACKBONE_FILE).unlink()
    *table, last = done("show", folder).splitlines()
    (row,) = [line for line in table if "step-" in line]
    assert row.split()[1] == "step-00000008"
    assert "0.75000 at step 8" in row
    assert last.startswith("step-00000004: incomplete: backbone.safetensors: is missing")
    assert {len(line) for line in table} == {len(row)}, "a fault makes the table no wider"
    (folder / "step-00000008" / BACKBONE_FILE).unlink()
    assert [line.split(":")[0] for line in done("show", folder).splitlines()] == ["step-00000008", "step-00000004"]


def test_sound_checkpoints_are_said_to_be(folder):
    lines = done("verify", folder).splitlines()
    assert lines == [f"step-0000000{step}: sound, 3 files, 0.0 MiB" for step in (8, 4)]


@pytest.mark.parametrize("name", [BACKBONE_FILE, MOMENTUM_FILE, HEAD_FILE])
def test_every_damaged_file_is_named_and_the_sound_checkpoint_too(folder, capsys, name):
    path = folder / "step-00000008"
    flip_the_last_bit(path / name)
    lines, error = refused(capsys, "verify", folder)
    assert lines == [
        f"{path / name}: is damaged (its SHA-256 is not the manifest's): use another checkpoint",
        "step-00000004: sound, 3 files, 0.0 MiB",
    ]
    assert error.endswith("1 of 2 damaged: step-00000008: use another checkpoint\n")


def test_all_damages_of_one_checkpoint_are_named(folder, capsys):
    path = folder / "step-00000008"
    (path / BACKBONE_FILE).unlink()
    size = (path / HEAD_FILE).stat().st_size
    (path / HEAD_FILE).write_bytes(b"")
    flip_the_last_bit(path / MOMENTUM_FILE)
    lines, _ = refused(capsys, "verify", path)
    assert sorted(line.removeprefix(f"{path}/").partition(" (")[0] for line in lines) == [
        "backbone.safetensors: is missing: use another checkpoint",
        f"{HEAD_FILE}: has 0 bytes instead of {size}: use another checkpoint",
        "momentum.safetensors: is damaged",
    ]


def change(path, **fields):
    rewrite_manifest(path.parent, lambda document: document.update(fields))


ENTRY_WITHOUT_CLASSES = {
    "name": HEAD_FILE,
    "size": 1,
    "sha256": "0" * 64,
    "firstClass": 0,
    "tensors": {"centers": {"shape": []}},
}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda path: path.unlink(), "manifest.json: is missing", id="none"),
        pytest.param(lambda path: path.write_text("{"), "manifest.json: is damaged (it does not", id="half of it"),
        pytest.param(
            partial(change, step=4), "is of step 4: name the folder step-00000004 again", id="of another checkpoint"
        ),
        pytest.param(
            partial(change, best={"epoch": 1, "step": 8, "results": []}),
            "manifest.json: document: a verification names no set",
            id="verification of nothing",
        ),
        pytest.param(
            partial(change, files=[ENTRY_WITHOUT_CLASSES]), "do not hold each of 10 classes once", id="no extents"
        ),
    ],
)
def test_a_manifest_is_a_file_too(folder, capsys, damage, words):
    damage(folder / "step-00000008" / MANIFEST_FILE)
    lines, error = refused(capsys, "verify", folder / "step-00000008")
    assert words in (lines[-1] if lines else error)
    assert done("show", folder)


def test_parts_that_no_file_holds_are_named(folder, capsys):
    path = folder / "step-00000008"
    rewrite_manifest(path, lambda document: document.update(files=document["files"][:1]))
    lines, _ = refused(capsys, "verify", path)
    assert [line.removeprefix(f"{path}/manifest.json: ") for line in lines] == [
        "lists no momentum.safetensors: use another checkpoint",
        "its files do not hold each of 10 classes once: use another checkpoint",
    ]


def test_a_checkpoint_that_holds_numbers_that_are_not_finite_is_none_to_go_on_from(folder, capsys):
    """No release of ours has written such a one since it looks before it saves; its files are as they were written."""
    path = folder / "step-00000008"
    entry = write_tensors(path / BACKBONE_FILE, {"stem.weight": np.full((2, 3), np.nan, np.float32)})

    def put_in_its_place(document):
        others = [other for other in document["files"] if other["name"] != BACKBONE_FILE]
        document["files"] = [json.loads(entry.to_json()), *others]

    rewrite_manifest(path, put_in_its_place)
    lines, _ = refused(capsys, "verify", path)
    assert lines == [f"{path / BACKBONE_FILE}: stem.weight holds numbers that are not finite: use another checkpoint"]


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (errno.EIO, 1, "Input/output error): this may pass, try again"),
        (errno.EACCES, 2, "Permission denied): use another checkpoint"),
    ],
)
def test_what_cannot_be_read_is_no_damage(folder, capsys, monkeypatch, number, status, words):
    def fail(*_args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(hashlib, "file_digest", fail)
    monkeypatch.setattr(errors, "PAUSES", (0.0,))
    assert run(["checkpoint", "verify", str(folder)]) == status
    told = capsys.readouterr()
    assert f"backbone.safetensors: cannot be read ({words}" in told.err
    assert "damaged" not in told.out + told.err


def test_the_newest_checkpoint_is_written_anew(folder, tmp_path):
    output = done("reshard", folder, "--ranks", 3, "-o", tmp_path / "new")
    path = tmp_path / "new" / "step-00000008"
    assert output == f"{path}: 3 files of class centres, read back and equal to {folder / 'step-00000008'}\n"
    assert len(list(path.glob("head-*"))) == 3
    assert done("verify", path) == "step-00000008: sound, 5 files, 0.0 MiB\n"


@pytest.mark.parametrize("words", [("show",), ("verify",), ("reshard", "--ranks", "2", "-o", "new")])
def test_a_folder_without_checkpoints_is_one_line(tmp_path, capsys, words):
    (tmp_path / "empty").mkdir()
    _, error = refused(capsys, words[0], tmp_path / "empty", *words[1:])
    assert f"{tmp_path}/empty: holds no" in error
