"""Writing checkpoints on one rank: what is published, kept and removed."""

import os
import resource

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.status import PairResult, Verification
from arcface_faces.checkpoint import newest_complete, read_manifest
from support.builders.saved_states import make_writer, saving


@pytest.fixture
def save(tmp_path):
    return saving(tmp_path)


def test_a_half_written_folder_is_neither_found_nor_left_behind(tmp_path, save):
    save(4)
    (tmp_path / ".writing-step-00000008").mkdir()
    assert newest_complete(tmp_path).name == "step-00000004"
    make_writer(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


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


def test_a_checkpoint_saved_after_falling_back_is_kept_and_found(tmp_path, save):
    """The run was at 8, found 6 and 8 damaged, resumed at 4 and saves 5; keep_last is 2."""
    for step in (4, 6, 8):
        save(step)
    save(5)
    assert newest_complete(tmp_path).name == "step-00000005"
    assert (tmp_path / "damaged-step-00000008").is_dir()
