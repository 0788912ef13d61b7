"""A head in another number of files is the same head, and nothing half-written stays."""

import json

import numpy as np
import pytest
from safetensors import SafetensorError

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces import checkpoint_writing
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    MANIFEST_FILE,
    MOMENTUM_FILE,
    ClassRange,
    class_range,
    damages,
    newest_complete,
    read_file,
    read_head,
    read_manifest,
)
from arcface_faces.checkpoint_writing import reshard
from support.builders.saved_states import CLASSES, ArrayState, flip_the_last_bit, rewrite_manifest, saving

STEP = "step-00000004"


@pytest.fixture
def source(tmp_path):
    saving(tmp_path / "source")(4)
    return tmp_path / "source" / STEP


@pytest.mark.parametrize("ranks", [(1,), (3,), (10,), (3, 4, 1)])
def test_the_state_is_the_same_in_any_number_of_files(tmp_path, source, ranks):
    written = source
    for number, count in enumerate(ranks):
        written = reshard(written, count, tmp_path / str(number))
    manifest = read_manifest(written)
    firsts = [entry.first_class for entry in manifest.files if entry.first_class is not None]
    assert firsts == [class_range(CLASSES, ranks[-1], rank).start for rank in range(ranks[-1])]
    assert manifest.world_size == ranks[-1]
    whole = read_head(written, manifest, ClassRange(0, CLASSES))
    for name, rows in ArrayState().head().items():
        np.testing.assert_array_equal(whole[name], rows)
    for name in (BACKBONE_FILE, MOMENTUM_FILE):
        assert (written / name).read_bytes() == (source / name).read_bytes()
    assert read_file(written, manifest, BACKBONE_FILE).keys() == ArrayState().arrays.keys()
    assert (list(damages(written, manifest)), newest_complete(written.parent)) == ([], written)
    assert manifest.model_copy(update={"files": [], "world_size": 1}) == read_manifest(source).model_copy(
        update={"files": []}
    )


def test_what_a_newer_release_says_in_the_manifest_is_kept(tmp_path, source):
    rewrite_manifest(source, lambda document: document.update(curriculum=7))
    written = reshard(source, 2, tmp_path / "new")
    assert json.loads((written / MANIFEST_FILE).read_text())["curriculum"] == 7


def test_tensors_that_this_release_does_not_know_are_not_left_behind(tmp_path, source):

    def take_momentum_away(document):
        (head,) = [entry for entry in document["files"] if "firstClass" in entry]
        del head["tensors"]["momentum"]

    rewrite_manifest(source, take_momentum_away)
    with pytest.raises(InvalidInput, match="holds centers: use the release that wrote it"):
        reshard(source, 2, tmp_path / "new")


@pytest.mark.parametrize("ranks", [0, CLASSES + 1])
def test_no_file_is_without_a_class(tmp_path, source, ranks):
    with pytest.raises(InvalidInput, match=f"--ranks {ranks}: must be 1 to {CLASSES}"):
        reshard(source, ranks, tmp_path / "new")


def test_a_damaged_checkpoint_is_not_written_anew(tmp_path, source):
    flip_the_last_bit(source / MOMENTUM_FILE)
    with pytest.raises(InvalidInput, match=r"momentum\.safetensors: is damaged"):
        reshard(source, 2, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_replaced(tmp_path, source):
    reshard(source, 2, tmp_path / "new")
    with pytest.raises(InvalidInput, match="is there already; name another folder with -o"):
        reshard(source, 3, tmp_path / "new")
    with pytest.raises(InvalidInput, match="is there already"):
        reshard(source, 2, source.parent)


def refuse(*_args):
    raise OSError(28, "No space left on device")


def refuse_as_safetensors_do(*_args):
    raise SafetensorError("I/O error: No space left on device")


@pytest.mark.parametrize("fault", [refuse, refuse_as_safetensors_do])
def test_of_what_a_disk_refuses_nothing_stays(tmp_path, source, monkeypatch, fault):
    monkeypatch.setattr(checkpoint_writing, "write_tensors", fault)
    with pytest.raises(ArcFaceError, match=r"cannot be written .*No space left on device"):
        reshard(source, 2, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_disk_has_written_wrongly_is_not_published(tmp_path, source, monkeypatch):
    really_write = checkpoint_writing.write_tensors

    def write_wrongly(path, tensors):
        return really_write(path, {name: rows + 1 for name, rows in tensors.items()})

    monkeypatch.setattr(checkpoint_writing, "write_tensors", write_wrongly)
    with pytest.raises(ArcFaceError, match="the classes from 0 on are not those of"):
        reshard(source, 2, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
