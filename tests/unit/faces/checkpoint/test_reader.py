"""Writing, finding and reading checkpoints on one rank, and reading them as another number of ranks."""

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_api.resource.status import PairResult, Verification
from arcface_faces.checkpoint.class_shard import ClassRange, class_range
from arcface_faces.checkpoint.manifest import CheckpointManifest
from arcface_faces.checkpoint.reader import (
    BACKBONE_FILE,
    newest_complete,
    read_file,
    read_head,
    read_manifest,
)
from arcface_trainer.checkpoint.resume import resume
from arcface_trainer.checkpoint.writer import CheckpointWriter, head_name, write_tensors
from arcface_trainer.distributed.collectives import World
from support.builders.training_plan import make_plan

CLASSES, EMBEDDING = 10, 8


class State:
    """Arrays instead of a network: what CheckpointWriter takes from a TrainingState."""

    def __init__(self, value: float = 1.0) -> None:
        self.arrays = {"stem.weight": np.full((2, 3), value, np.float32), "norm.moving_mean": np.zeros(2, np.float32)}

    def backbone(self, _world):
        return self.arrays

    def momentum(self):
        return {"stem.weight": np.full((2, 3), 0.5, np.float32)}

    def head(self):
        centers = np.arange(CLASSES * EMBEDDING, dtype=np.float32).reshape(CLASSES, EMBEDDING)
        return {"centers": centers, "momentum": -centers}


PLAN = make_plan(class_count=CLASSES, model=ModelSpec(embedding_size=EMBEDDING))


def make_writer(directory):
    return CheckpointWriter(directory, keep_last=2, plan=PLAN, world=World(1, 0))


@pytest.fixture
def save(tmp_path):
    writer = make_writer(tmp_path)
    writer.prepare()
    return lambda step, value=1.0, **verifications: writer.save(State(value), step, **verifications)


def test_a_saved_checkpoint_is_found_and_read_back(tmp_path, save):
    status = save(4)
    folder = newest_complete(tmp_path)
    assert folder == tmp_path / "step-00000004"
    assert (status.path, status.step) == (folder.name, 4)
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
    whole = State().head()
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([block[name] for block in blocks]), whole[name])


def test_a_head_written_by_three_ranks_is_read_by_two(tmp_path, save):
    """The files of three ranks are written by hand; their blocks cross those of two ranks."""
    save(4)
    folder = tmp_path / "step-00000004"
    whole = State().head()
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


def read_manifest_with(folder, entries):
    return read_stored(folder).model_copy(update={"files": entries})


def read_stored(folder):
    return CheckpointManifest.from_json((folder / "manifest.json").read_bytes(), "manifest")


def test_whoever_may_read_the_folder_may_read_its_files(tmp_path, save):
    save(8)
    (folder,) = tmp_path.glob("step-*")
    modes = {path.name: path.stat().st_mode & 0o666 for path in folder.iterdir()}
    assert set(modes.values()) == {folder.stat().st_mode & 0o666}, modes


def test_only_the_newest_are_kept(tmp_path, save):
    for step in (2, 4, 6):
        save(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000006"]


def test_the_best_is_kept_beside_the_newest(tmp_path, save):
    best = Verification(epoch=1, step=2, results=[PairResult(dataset="lfw", accuracy=0.9, std=0.0, pairs=600)])
    for step in (2, 4, 6, 8):
        save(step, verification=best, best=best)
    assert [path.name[-1] for path in sorted(tmp_path.iterdir())] == ["2", "6", "8"]
    assert read_manifest(tmp_path / "step-00000008").best == best
    save(10, best=best.model_copy(update={"step": 8}))
    assert [path.name[-2:] for path in sorted(tmp_path.iterdir())] == ["08", "10"]


def test_a_half_written_folder_is_neither_found_nor_left_behind(tmp_path, save):
    save(4)
    (tmp_path / ".writing-step-00000008").mkdir()
    assert newest_complete(tmp_path).name == "step-00000004"
    make_writer(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        pytest.param("file", "File exists", id="file"),
        pytest.param("file/below", "Not a directory", id="below a file"),
        pytest.param("/proc/1/checkpoints", "No such file or directory", id="proc"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(tmp_path, place, reason):
    (tmp_path / "file").touch()
    directory = tmp_path / place
    with pytest.raises(InvalidInput) as caught:
        make_writer(directory).prepare()
    assert str(caught.value).startswith(
        f"{directory}: checkpoints cannot be written ({reason}): the folder must be writable for user {os.getuid()},"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_existing_folder_of_another_user_is_refused(tmp_path):
    os.seteuid(65534)
    try:
        with pytest.raises(InvalidInput, match=r"cannot be written \(Permission denied\)"):
            make_writer(tmp_path).prepare()
    finally:
        os.seteuid(0)


def test_a_disk_that_refuses_is_one_line_and_may_be_tried_again(tmp_path, save):
    save(4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(ArcFaceError) as caught:
            save(8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(caught.value, InvalidInput)
    assert str(caught.value).startswith(f"{tmp_path}: the checkpoint of step 8 cannot be written (")
    assert "File too large" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert newest_complete(tmp_path).name == "step-00000004"


def test_preparing_leaves_nothing_behind(tmp_path):
    make_writer(tmp_path / "new").prepare()
    assert list((tmp_path / "new").iterdir()) == []


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


def test_a_checkpoint_saved_after_falling_back_is_kept_and_found(tmp_path, save):
    """The run was at 8, found 6 and 8 damaged, resumed at 4 and saves 5; keep_last is 2."""
    for step in (4, 6, 8):
        save(step)
    save(5)
    assert newest_complete(tmp_path).name == "step-00000005"
    assert (tmp_path / "damaged-step-00000008").is_dir()


def test_a_flipped_bit_is_refused(tmp_path, save):
    save(4)
    folder = tmp_path / "step-00000004"
    data = bytearray((folder / BACKBONE_FILE).read_bytes())
    data[-1] ^= 1
    (folder / BACKBONE_FILE).write_bytes(data)
    with pytest.raises(InvalidInput, match=r"backbone\.safetensors: is damaged"):
        read_file(folder, read_manifest(folder), BACKBONE_FILE)


class Loaded:
    """A state that remembers where it was loaded from."""

    source = None

    def load(self, *_tensors, source):
        self.source = source


def flip_the_last_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_run_goes_on_from_the_newest_sound_checkpoint(tmp_path, save):
    save(4)
    save(8)
    flip_the_last_bit(tmp_path / "step-00000008" / BACKBONE_FILE)
    state = Loaded()
    assert resume(state, tmp_path, PLAN, World(1, 0)).step == 4
    assert state.source == str(tmp_path / "step-00000004")


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_passed_over(tmp_path, save, monkeypatch):
    save(4)
    save(8)
    read_bytes = Path.read_bytes

    def stale(path):
        if path.name == "manifest.json" and path.parent.name == "step-00000008":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(ArcFaceError, match="Stale file handle") as caught:
        resume(Loaded(), tmp_path, PLAN, World(1, 0))
    assert not isinstance(caught.value, InvalidInput)


def test_a_run_without_checkpoints_starts_anew(tmp_path):
    assert resume(Loaded(), tmp_path / "none", PLAN, World(1, 0)) is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: flip_the_last_bit(folder / BACKBONE_FILE), id="flipped bits"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), id="no manifests"),
    ],
)
def test_a_run_never_starts_anew_beside_damaged_checkpoints(tmp_path, save, damage):
    save(4)
    save(8)
    for folder in tmp_path.iterdir():
        damage(folder)
    with pytest.raises(InvalidInput) as caught:
        resume(Loaded(), tmp_path, PLAN, World(1, 0))
    assert str(caught.value).startswith(f"{tmp_path}: holds 2 checkpoints, but those that were tried are damaged: ")
    assert "move all away to start anew" in str(caught.value)


def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path, save):
    save(4)
    path = tmp_path / "step-00000004" / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][0]["name"] = "../../secret.safetensors"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=r"files\[0\]\.name"):
        read_manifest(path.parent)
