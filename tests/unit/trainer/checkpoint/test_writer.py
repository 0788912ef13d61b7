"""Writing checkpoints on one rank: what is published, kept and removed."""

import os
import resource
from pathlib import Path

import pytest

from arcface_api.errors import ArcFaceError, Diverged, InvalidInput
from arcface_api.resource.status import PairResult, Verification
from arcface_faces.checkpoint import RollBack, newest_complete, read_manifest
from arcface_faces.checkpoint_writing import write_manifest
from arcface_trainer.checkpoint import writer as writer_module
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from support.builders.saved_states import ArrayState, make_writer, saving


@pytest.fixture
def save(tmp_path):
    return saving(tmp_path)


def names(folder, pattern="*"):
    return sorted(path.name for path in folder.glob(pattern))


def test_a_half_written_folder_is_neither_found_nor_left_behind(tmp_path, save):
    save(4)
    (tmp_path / ".writing-0" / "step-00000008").mkdir()
    (tmp_path / ".writing-step-00000012").mkdir()  # as releases before this one left it
    assert newest_complete(tmp_path).name == "step-00000004"
    make_writer(tmp_path).prepare()
    assert names(tmp_path) == [".writing-0", "step-00000004"]
    assert names(tmp_path / ".writing-0") == []


def test_whoever_may_read_the_folder_may_read_its_files(tmp_path, save):
    save(8)
    (folder,) = tmp_path.glob("step-*")
    modes = {path.name: path.stat().st_mode & 0o666 for path in folder.iterdir()}
    assert set(modes.values()) == {folder.stat().st_mode & 0o666}, modes


def test_only_the_newest_are_kept(tmp_path, save):
    for step in (2, 4, 6):
        save(step)
    assert names(tmp_path, "step-*") == ["step-00000004", "step-00000006"]


def test_the_best_is_kept_beside_the_newest(tmp_path, save):
    best = Verification(epoch=1, step=2, results=[PairResult(dataset="lfw", accuracy=0.9, std=0.0, pairs=600)])
    for step in (2, 4, 6, 8):
        save(step, last=best, best=best)
    assert [name[-1] for name in names(tmp_path, "step-*")] == ["2", "6", "8"]
    assert read_manifest(tmp_path / "step-00000008").best == best
    save(10, best=best.model_copy(update={"step": 8}))
    assert [name[-2:] for name in names(tmp_path, "step-*")] == ["08", "10"]


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
@pytest.mark.parametrize("deed", ["listed", "written"])
def test_an_existing_folder_of_another_user_is_refused(tmp_path, deed):
    """pytest's folders are root's alone, /etc may be read by all."""
    os.seteuid(65534)
    try:
        with pytest.raises(InvalidInput, match=rf"cannot be {deed} \(Permission denied\)"):
            make_writer(tmp_path if deed == "listed" else Path("/etc")).prepare()
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


def test_a_gang_that_has_ended_leaves_nothing_behind(tmp_path):
    writer = make_writer(tmp_path / "new")
    writer.prepare()
    writer.leave()
    assert names(tmp_path / "new") == []


def test_a_checkpoint_saved_after_falling_back_is_kept_and_found(tmp_path, save):
    """The run was at 8, went back to 4 and saves 5; keep_last is 2."""
    for step in (4, 6, 8):
        save(step)
    save(5)
    assert newest_complete(tmp_path).name == "step-00000005"
    assert (tmp_path / "superseded-step-00000008").is_dir()


def test_what_a_way_back_could_not_put_aside_is_put_aside_by_a_later_checkpoint(tmp_path):
    """The run was at 8, went back to 4, could not rename 8, has saved 6 and now saves 10; keep_last is 2."""
    saver = Saver(make_writer(tmp_path))
    saver.writer.prepare()
    way_back = RollBack(cause="the loss", from_step=5, to_step=4, skipped_batches=2, rate_factor=0.5)
    for step, noted in ((4, None), (8, None), (6, way_back), (10, way_back)):
        if step == 10:
            (tmp_path / "superseded-step-00000008").rename(tmp_path / "step-00000008")
        saver.begin(saver.writer.snapshot(ArrayState(), step, Verifications(), noted))
        assert saver.finish().failure is None
    assert names(tmp_path, "s*") == ["step-00000006", "step-00000010", "superseded-step-00000008"]


def test_a_checkpoint_is_never_removed_for_one_of_the_same_step(tmp_path, save):
    for number in range(3):
        save(8)
        (tmp_path / "step-00000008" / f"mark-{number}").touch()
    assert [path.name for path in sorted(tmp_path.glob("superseded-step-00000008*/mark-?"))] == ["mark-0", "mark-1"]
    assert (tmp_path / "step-00000008" / "mark-2").exists()


def write(writer, step):
    return writer.write(writer.snapshot(ArrayState(), step, Verifications()))


def test_what_is_left_of_a_lost_gang_writes_and_publishes_nothing_any_more(tmp_path):
    lost, new = make_writer(tmp_path, attempt=0), make_writer(tmp_path, attempt=1)
    lost.prepare()
    files = write(lost, 8)
    new.prepare()
    with pytest.raises(FileNotFoundError):
        lost.publish(8, files, verification=None, best=None, loss_scale=None)
    with pytest.raises(ArcFaceError, match="another gang has begun to write here"):
        write(lost, 12)
    assert names(tmp_path) == [".writing-1"]
    new.publish(8, write(new, 8), verification=None, best=None, loss_scale=None)
    assert newest_complete(tmp_path).name == "step-00000008"


def test_a_gang_that_hangs_while_it_publishes_leaves_what_its_successor_has_saved(tmp_path, monkeypatch):
    """Its volume does not answer for the time in which another gang begins, goes on and saves."""
    lost, new = make_writer(tmp_path, attempt=0), make_writer(tmp_path, attempt=1)
    lost.prepare()
    files = write(lost, 8)

    def hang(folder, text):
        monkeypatch.undo()
        write_manifest(folder, text)
        new.prepare()
        for step in (8, 12):
            new.publish(step, write(new, step), verification=None, best=None, loss_scale=None)

    monkeypatch.setattr(writer_module, "write_manifest", hang)
    with pytest.raises(FileNotFoundError):
        lost.publish(8, files, verification=None, best=None, loss_scale=None)
    assert names(tmp_path) == [".writing-1", "step-00000008", "step-00000012"]


def test_a_gang_that_hangs_when_it_has_published_removes_nothing_of_its_successors(tmp_path, monkeypatch):
    lost, new = make_writer(tmp_path, attempt=0), make_writer(tmp_path, attempt=1)
    lost.prepare()
    files = write(lost, 8)
    best = Verification(epoch=1, step=12, results=[PairResult(dataset="lfw", accuracy=0.9, std=0.0, pairs=600)])

    def hang(_folder):
        monkeypatch.undo()
        new.prepare()
        for step in (12, 16, 20):
            new.publish(step, write(new, step), verification=best, best=best, loss_scale=None)

    monkeypatch.setattr(writer_module, "sync_folder", hang)
    with pytest.raises(InvalidInput, match=r"step-00000008/manifest\.json: is missing"):  # the new gang removed it
        lost.publish(8, files, verification=None, best=None, loss_scale=None)
    assert [name[-2:] for name in names(tmp_path, "step-*")] == ["12", "16", "20"]


def test_what_is_left_of_an_earlier_job_of_the_name_publishes_nothing_although_both_begin_at_attempt_0(tmp_path):
    earlier, new = make_writer(tmp_path, job_uid="1f0e-1"), make_writer(tmp_path, job_uid="1f0e-2")
    earlier.prepare()
    files = write(earlier, 8)
    new.prepare()
    with pytest.raises(FileNotFoundError):
        earlier.publish(8, files, verification=None, best=None, loss_scale=None)
    with pytest.raises(ArcFaceError, match="another gang has begun to write here"):
        write(earlier, 12)
    assert names(tmp_path) == [".writing-1f0e-2-0"]


def test_a_rank_of_a_lost_pod_writes_nothing_beside_those_of_the_new_one(tmp_path):
    """On a node that is cut off it is alive, and of the same attempt."""
    lost, new = make_writer(tmp_path, attempt=2), make_writer(tmp_path, attempt=2, launch=1)
    lost.prepare()
    files = write(lost, 8)
    new.prepare()
    write(new, 8)
    with pytest.raises(ArcFaceError, match="another gang has begun to write here"):
        write(lost, 8)
    with pytest.raises(FileNotFoundError):
        lost.publish(8, files, verification=None, best=None, loss_scale=None)
    assert names(tmp_path) == [".writing-2.1"]
    lost.prepare()
    assert names(tmp_path) == [".writing-2", ".writing-2.1"], "one that starts late lets the newer ones write"


@pytest.mark.parametrize(
    "before",
    [{"job_uid": "1f0e-1", "attempt": 7}, {"attempt": 1}, {"job_uid": "1f0e-2", "attempt": 1}],
    ids=["another job's", "of an operator that tells no uid", "our own"],
)
def test_a_job_that_has_a_uid_shuts_out_every_gang_but_its_own_newer_ones(tmp_path, before):
    make_writer(tmp_path, **before).prepare()
    make_writer(tmp_path, job_uid="1f0e-2", attempt=2).prepare()
    assert names(tmp_path) == [".writing-1f0e-2-2"]


def test_a_gang_of_a_job_with_a_uid_that_starts_late_lets_a_newer_one_write(tmp_path):
    make_writer(tmp_path, job_uid="1f0e-2", attempt=3).prepare()
    make_writer(tmp_path, job_uid="1f0e-2", attempt=2).prepare()
    assert names(tmp_path) == [".writing-1f0e-2-2", ".writing-1f0e-2-3"]


def test_a_gang_that_starts_late_lets_a_newer_one_write(tmp_path):
    newer = make_writer(tmp_path, attempt=7)
    newer.prepare()
    files = write(newer, 8)
    make_writer(tmp_path, attempt=5).prepare()
    newer.publish(8, files, verification=None, best=None, loss_scale=None)
    assert newest_complete(tmp_path).name == "step-00000008"


def test_what_a_higher_attempt_of_an_earlier_job_left_behind_goes_in_time(tmp_path):
    """The job was deleted and created anew, so that its attempts begin at 0 again."""
    earlier = make_writer(tmp_path, attempt=7)
    earlier.prepare()
    write(earlier, 8)
    for path in (earlier.room, *earlier.room.rglob("*")):
        os.utime(path, times=(1.7e9, 1.7e9))
    make_writer(tmp_path).prepare()
    assert names(tmp_path) == [".writing-0"]


def test_a_state_that_is_not_finite_is_never_written(tmp_path):
    writer = make_writer(tmp_path)
    writer.prepare()
    with pytest.raises(Diverged, match=r"the state after step 8 is not saved: stem\.weight is not finite"):
        writer.write(writer.snapshot(ArrayState(float("inf")), 8, Verifications()))
    assert names(writer.room) == []
