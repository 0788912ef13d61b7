"""Finding and reading checkpoints, also as another number of ranks than wrote them."""

import contextlib
import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from arcface_api import errors
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    CheckpointManifest,
    ClassRange,
    Damaged,
    class_range,
    damages,
    head_rows,
    newest_complete,
    read_file,
    read_head,
    read_manifest,
)
from arcface_faces.checkpoint_writing import head_name, write_tensors
from support.builders.saved_states import ALL, CLASSES, ArrayState, rewrite_manifest, saving


@pytest.fixture
def save(tmp_path):
    return saving(tmp_path)


def read_manifest_with(folder, entries):
    return read_stored(folder).model_copy(update={"files": entries})


def read_stored(folder):
    return CheckpointManifest.from_ours((folder / "manifest.json").read_bytes(), "manifest")


def test_a_saved_checkpoint_is_found_and_read_back(tmp_path, save):
    status = save(4)
    folder = newest_complete(tmp_path)
    assert folder == tmp_path / "step-00000004"
    assert (status.path, status.step) == (f"runs/tiny/{folder.name}", 4)
    stored = read_manifest(folder)
    backbone = read_file(folder, stored, BACKBONE_FILE)
    np.testing.assert_array_equal(backbone["stem.weight"], np.ones((2, 3)))
    assert stored.preprocessing.channels == "RGB"


@pytest.mark.parametrize("world_size", [1, 3, 10])
def test_the_head_is_read_in_blocks_by_any_number_of_ranks(tmp_path, save, world_size):
    save(4)
    folder = tmp_path / "step-00000004"
    blocks = [
        read_head(folder, read_manifest(folder), class_range(CLASSES, world_size, rank)) for rank in range(world_size)
    ]
    whole = ArrayState().head()
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([block[name] for block in blocks]), whole[name])


def test_a_head_written_by_three_ranks_is_read_by_two(tmp_path, save):
    """The files of three ranks are written by hand; their blocks cross those of two ranks."""
    save(4)
    folder = tmp_path / "step-00000004"
    whole = ArrayState().head()
    entries = [entry for entry in read_manifest(folder).files if entry.first_class is None]
    (folder / head_name(0)).unlink()
    for start, size in (class_range(CLASSES, 3, rank) for rank in range(3)):
        block = {name: np.ascontiguousarray(rows[start : start + size]) for name, rows in whole.items()}
        entries.append(write_tensors(folder / head_name(start), block).model_copy(update={"first_class": start}))
    stored = read_manifest_with(folder, entries)
    for rank in range(2):
        start, size = class_range(CLASSES, 2, rank)
        block = read_head(folder, stored, ClassRange(start, size))
        np.testing.assert_array_equal(block["centers"], whole["centers"][start : start + size])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), id="no manifest"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("{"), id="half a manifest"),
        pytest.param(lambda folder: (folder / BACKBONE_FILE).unlink(), id="missing file"),
        pytest.param(lambda folder: (folder / BACKBONE_FILE).write_bytes(b"x"), id="short file"),
    ],
)
def test_an_incomplete_checkpoint_is_passed_over(tmp_path, save, damage):
    save(4)
    save(8)
    damage(tmp_path / "step-00000008")
    assert newest_complete(tmp_path).name == "step-00000004"


def test_a_flipped_bit_is_refused(tmp_path, save):
    save(4)
    folder = tmp_path / "step-00000004"
    data = bytearray((folder / BACKBONE_FILE).read_bytes())
    data[-1] ^= 1
    (folder / BACKBONE_FILE).write_bytes(data)
    with pytest.raises(InvalidInput, match=r"backbone\.safetensors: is damaged"):
        read_file(folder, read_manifest(folder), BACKBONE_FILE)


@pytest.fixture
def leave_descriptors():
    """Have this process open so many more files at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(count):
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(Path(os.devnull).open()).fileno() for _ in range(count + 1)][count]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", [0, 1])
def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_damaged(
    tmp_path, save, monkeypatch, leave_descriptors, count
):
    """The library for tensors takes one more, and says of any error of its own that there is no such file."""
    save(4)
    folder = tmp_path / "step-00000004"
    manifest = read_manifest(folder)
    monkeypatch.setattr(errors, "PAUSES", (0.0,))
    leave_descriptors(count)
    for read in (lambda: head_rows(folder, manifest, ALL), lambda: list(damages(folder, manifest))):
        with pytest.raises(ArcFaceError, match=r"\.safetensors: cannot be read \(.*\): this may pass") as caught:
            read()
        assert type(caught.value) is ArcFaceError


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_what_cannot_be_read_is_not_damaged_and_no_older_one_takes_its_place(tmp_path, save, monkeypatch, number):
    save(4)
    save(8)
    stat = Path.stat

    def refuse(path, **given):
        if path.name == BACKBONE_FILE:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **given)

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(errors, "PAUSES", (0.0,))
    with pytest.raises(ArcFaceError, match=os.strerror(number)) as caught:
        newest_complete(tmp_path)
    assert not isinstance(caught.value, Damaged)
    assert isinstance(caught.value, InvalidInput) == (number not in errors.PASSING)


@pytest.mark.parametrize("name", ["manifest.json", BACKBONE_FILE])
def test_a_file_that_is_gone_is_damage(tmp_path, save, name):
    save(4)
    (tmp_path / "step-00000004" / name).unlink()
    with pytest.raises(Damaged, match=f"{name}: is missing: use another checkpoint"):
        read_manifest(tmp_path / "step-00000004")


def test_a_manifest_that_was_changed_is_refused_and_one_of_an_older_release_is_not(tmp_path, save):
    save(4)
    path = tmp_path / "step-00000004" / "manifest.json"
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"seed":0', b'"seed":7'))
    with pytest.raises(InvalidInput, match=r"manifest\.json: is damaged"):
        read_manifest(path.parent)
    manifest = CheckpointManifest.from_ours(text, "manifest")
    path.write_text(manifest.to_json())
    with pytest.raises(InvalidInput, match=r"manifest\.json: is damaged \(its checksum is missing\)"):
        read_manifest(path.parent)
    path.write_text(manifest.model_copy(update={"data_fingerprint": None}).to_json())
    assert read_manifest(path.parent).seed == 0


def test_a_manifest_with_any_bit_flipped_is_refused(tmp_path, save):
    save(4)
    path = tmp_path / "step-00000004" / "manifest.json"
    text = path.read_bytes()
    for place in range(len(text)):
        path.write_bytes(text[:place] + bytes([text[place] ^ 1 << place % 8]) + text[place + 1 :])
        with pytest.raises(InvalidInput, match=r"manifest\.json: is damaged"):
            read_manifest(path.parent)


def test_a_manifest_of_the_release_before_is_read(tmp_path, save):
    """As its wheel in tests/cluster/upgrade/previous writes one."""
    save(4)
    path = tmp_path / "step-00000004" / "manifest.json"
    document = json.loads(path.read_bytes())
    known = [name for name in document if name not in {"checksum", "dataFingerprint", "rollBack", "source"}]
    path.write_text(json.dumps({name: document[name] for name in known}, separators=(",", ":")))
    assert read_manifest(path.parent).step == 4


def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path, save):
    save(4)
    folder = tmp_path / "step-00000004"
    rewrite_manifest(folder, lambda document: document["files"][0].update(name="../../secret.safetensors"))
    with pytest.raises(InvalidInput, match=r"files\[0\]\.name"):
        read_manifest(folder)
