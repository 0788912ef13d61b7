"""Going back to a checkpoint, over crashes and volumes that refuse."""

import errno
import os
import time
from types import SimpleNamespace

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import ArcFaceError
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    SourceCheckpoint,
    manifest_sha256,
    newest_complete,
    read_file,
    read_manifest,
)
from arcface_trainer.checkpoint import checkpointing
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from support.builders.saved_states import PLAN, flip_the_last_bit
from support.fakes.disks import Disk
from support.fakes.saving_rank import EVERY, Training


def test_a_way_back_that_a_crash_cuts_short_is_found_again_or_gone_again(tmp_path, monkeypatch):
    training = Training(tmp_path, Disk())
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    (first, second), checkpoints = training.saved, training.checkpointing
    training.state.load = training.state.load_loss_scale = lambda *_, **__: None
    monkeypatch.setattr(CheckpointWriter, "set_aside", _crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.roll_back(first + 3, "the loss", training.metrics)
    assert training.saved == [first, second]
    assert read_manifest(newest_complete(tmp_path)).roll_back is None
    monkeypatch.undo()
    monkeypatch.setattr("arcface_trainer.checkpoint.writer.write_manifest", _crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.roll_back(first + 3, "the loss", training.metrics)
    assert training.saved == [first]
    assert read_manifest(newest_complete(tmp_path)).roll_back is None
    monkeypatch.undo()
    assert checkpoints.roll_back(first + 3, "the loss", training.metrics) == first
    noted = read_manifest(newest_complete(tmp_path))
    assert (noted.roll_back.to_step, noted.roll_back.skipped_batches, noted.roll_back.cause) == (first, 4, "the loss")
    assert checkpoints.newest.sha256 == manifest_sha256(newest_complete(tmp_path))


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("place", ["set_aside", "write_manifest"])
def test_a_way_back_goes_on_where_the_volume_refuses_and_is_noted_by_the_next_save(
    tmp_path, monkeypatch, place, number
):
    training = Training(tmp_path, Disk())
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    (first, second), checkpoints = training.saved, training.checkpointing
    training.state.load = training.state.load_loss_scale = lambda *_, **__: None
    module = "arcface_trainer.checkpoint.writer."
    monkeypatch.setattr(module + {"set_aside": "_set_aside"}.get(place, place), _refuse_by(number))
    training.step = checkpoints.roll_back(first + 3, "the loss", training.metrics)
    assert (training.step, checkpoints.newest.step) == (first, first)
    assert checkpoints.newest.sha256 == manifest_sha256(tmp_path / f"step-{first:08d}")
    assert os.strerror(number) in checkpoints.warnings[0]
    assert training.metric("arcface_train_checkpoint_failures_total") == 1
    assert read_manifest(tmp_path / f"step-{first:08d}").roll_back is None
    monkeypatch.undo()
    late = time.monotonic() + checkpointing.RETRY_SECONDS
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    training.train(2)
    training.let_and_train_until_saved()
    assert first < training.saved[-1] < second, "it is tried again as a save that failed"
    assert read_manifest(newest_complete(tmp_path)).roll_back == checkpoints.rolled_back
    assert (tmp_path / f"superseded-step-{second:08d}").is_dir()
    assert checkpoints.warnings == []


def test_who_resumes_before_a_way_back_could_be_noted_goes_it_again_and_may_note_it_then(tmp_path, monkeypatch):
    """It goes back once in a run, whatever is noted: the second time in that run ends it (`training.loop`)."""
    training = Training(tmp_path, Disk())
    training.train(EVERY)
    training.let_and_train_until_saved()
    training.state.load = training.state.load_loss_scale = lambda *_, **__: None
    monkeypatch.setattr("arcface_trainer.checkpoint.writer.write_manifest", _refuse_by(errno.EROFS))
    training.checkpointing.roll_back(EVERY + 3, "the loss", training.metrics)
    monkeypatch.undo()
    settings, given = training.checkpointing.settings, (PLAN, World(1, 0), RankIdentity(attempt=1))
    resumed = Checkpointing.start(settings, training.state, *given)
    assert (resumed.resumed.step, resumed.rolled_back) == (EVERY, None)
    resumed.roll_back(EVERY + 3, "the loss", training.metrics)
    again = Checkpointing.start(settings, training.state, *given)
    assert resumed.rolled_back is not None
    assert again.rolled_back == resumed.rolled_back


def test_who_resumes_before_what_was_left_could_be_put_aside_goes_on_from_it_and_may_go_back_once(
    tmp_path, monkeypatch
):
    training = Training(tmp_path, Disk())
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    first, second = training.saved
    training.state.load = training.state.load_loss_scale = lambda *_, **__: None
    monkeypatch.setattr("arcface_trainer.checkpoint.writer._set_aside", _refuse_by(errno.EROFS))
    assert training.checkpointing.roll_back(first + 3, "the loss", training.metrics) == first
    monkeypatch.undo()
    settings, given = training.checkpointing.settings, (PLAN, World(1, 0), RankIdentity(attempt=1))
    resumed = Checkpointing.start(settings, training.state, *given)
    assert (resumed.resumed.step, resumed.rolled_back) == (second, None)
    assert resumed.roll_back(second + 4, "the loss", training.metrics) == second
    again = Checkpointing.start(settings, training.state, *given)
    assert again.rolled_back == resumed.rolled_back
    assert (again.rolled_back.from_step, again.rolled_back.to_step) == (second + 4, second)


@pytest.mark.parametrize("number", [None, errno.EROFS])
def test_a_way_back_to_the_beginning_leaves_nothing_of_the_course_before_and_is_noted_by_the_next_save(
    tmp_path, monkeypatch, number
):
    training = Training(tmp_path, Disk())
    training.train(EVERY)
    training.let_and_train_until_saved()
    checkpoints = training.checkpointing
    if number is not None:
        monkeypatch.setattr("arcface_trainer.checkpoint.writer._set_aside", _refuse_by(number))
    training.step = checkpoints.roll_back(EVERY - 1, "the loss", training.metrics)
    monkeypatch.undo()
    assert (training.step, checkpoints.newest) == (0, None)
    assert training.saved == ([] if number is None else [EVERY])
    assert not training.state.arrays["stem.weight"].any()
    if number is not None:
        late = time.monotonic() + checkpointing.RETRY_SECONDS
        monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    training.train(2)
    training.let_and_train_until_saved()
    noted = read_manifest(tmp_path / f"step-{training.saved[0]:08d}").roll_back
    assert (noted, noted.from_step, noted.to_step, noted.skipped_batches) == (
        checkpoints.rolled_back,
        EVERY - 1,
        0,
        EVERY,
    )
    assert training.saved[-1] < EVERY
    training.train(EVERY)
    training.let_and_train_until_saved()
    assert (tmp_path / f"superseded-step-{EVERY:08d}").is_dir()


def test_who_starts_before_a_way_back_to_the_beginning_could_be_noted_begins_anew_and_may_go_it_again(tmp_path):
    training = Training(tmp_path, Disk())
    training.train(EVERY)
    training.let_and_train_until_saved()
    training.checkpointing.roll_back(EVERY - 1, "the loss", training.metrics)
    again = Checkpointing.start(training.checkpointing.settings, training.state, PLAN, World(1, 0), RankIdentity())
    assert (again.resumed, again.rolled_back) == (None, None)
    assert again.roll_back(EVERY - 1, "the loss", training.metrics) == 0


def test_a_run_whose_checkpoint_from_before_was_removed_does_not_begin_anew(tmp_path):
    training = Training(tmp_path, Disk(), keep_last=1)
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    assert training.checkpointing.roll_back(training.saved[0] - 1, "the loss", training.metrics) is None
    assert (training.checkpointing.rolled_back, training.state.arrays["stem.weight"].all()) == (None, True)


def test_the_beginning_of_what_is_fine_tuned_is_its_source_and_the_next_save_names_that(tmp_path):
    source = SourceCheckpoint(job="large", step=40, sha256="ab" * 32, head="kept")

    def begin(state):
        assert not state.arrays["stem.weight"].any(), "what the training has learnt is gone"
        state.arrays["stem.weight"] += 7
        return source

    training = Training(tmp_path, Disk())
    training.checkpointing.fine_tuning = SimpleNamespace(begin=begin)
    training.train(3)
    training.step = training.checkpointing.roll_back(2, "the loss", training.metrics)
    training.train(2)
    training.let_and_train_until_saved()
    manifest = read_manifest(newest_complete(tmp_path))
    assert (manifest.source, manifest.roll_back.to_step) == (source, 0)
    assert (read_file(newest_complete(tmp_path), manifest, BACKBONE_FILE)["stem.weight"] == 7).all()


def test_a_volume_that_is_read_only_when_damaged_checkpoints_are_to_be_renamed_is_worth_a_retry(tmp_path, monkeypatch):
    training = Training(tmp_path, Disk())
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    flip_the_last_bit(tmp_path / f"step-{training.saved[-1]:08d}" / BACKBONE_FILE)
    training.state.load = training.state.load_loss_scale = lambda *_, **__: None
    monkeypatch.setattr("arcface_trainer.checkpoint.writer._set_aside", _refuse_by(errno.EROFS))
    with pytest.raises(ArcFaceError, match=r"cannot be renamed \(Read-only file system\): this may pass") as caught:
        Checkpointing.start(training.checkpointing.settings, training.state, PLAN, World(1, 0), RankIdentity())
    assert type(caught.value) is ArcFaceError


def _refuse_by(number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


def _crash(*_):
    raise KeyboardInterrupt
