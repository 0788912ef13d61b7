"""When a rank saves: what waits for what, what is tried again, and what a failure ends.

Votes come one step late, as the training's loop hands them over.
"""

import errno
import re
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import ArcFaceError, Diverged, InvalidInput
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    file_sha256,
    newest_complete,
    read_manifest,
)
from arcface_faces.checkpoint_writing import write_manifest, write_tensors
from arcface_trainer.checkpoint import checkpointing, pod_memory
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.pod_memory import PodMemory
from arcface_trainer.checkpoint.resume import refuse_other_runs
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from support import small_volume
from support.builders.saved_states import PLAN, ArrayState, flip_the_last_bit
from support.builders.training_plan import make_plan
from support.builders.verifications import found
from support.fakes.disks import Disk, refusing
from support.fakes.saving_rank import EVERY, Training
from support.waiting import wait_until


@pytest.fixture
def slow(tmp_path):
    return Training(tmp_path, Disk(is_slow=True))


def test_a_run_that_is_refused_leaves_the_gang_alone_that_writes_there(tmp_path):
    training = Training(tmp_path, Disk())
    training.train(EVERY)
    training.let_and_train_until_saved()
    settings, other = training.checkpointing.settings, make_plan(spec_hash="b" * 64)
    with pytest.raises(InvalidInput, match="another model, loss, data or training"):
        Checkpointing.start(settings, ArrayState(), other, World(1, 0), RankIdentity(attempt=1))
    training.train(EVERY)
    training.let_and_train_until_saved()
    assert training.checkpointing.warnings == []
    assert len(training.saved) == 2


def test_what_is_damaged_is_put_aside_by_that_name_when_a_run_goes_on_from_before(tmp_path):
    training = Training(tmp_path, Disk())
    for _ in range(2):
        training.train(EVERY)
        training.let_and_train_until_saved()
    flip_the_last_bit(tmp_path / f"step-{training.saved[-1]:08d}" / BACKBONE_FILE)
    state = ArrayState()
    state.load = state.load_loss_scale = lambda *_, **__: None
    before, damaged = training.saved
    Checkpointing.start(training.checkpointing.settings, state, PLAN, World(1, 0), RankIdentity())
    assert training.saved == [before]
    assert (tmp_path / f"damaged-step-{damaged:08d}").is_dir()


def test_a_run_by_another_recipe_is_refused_by_the_name_of_the_field(tmp_path):
    training = Training(tmp_path, Disk())
    training.train(EVERY)
    training.let_and_train_until_saved()
    folder = newest_complete(tmp_path)
    manifest = read_manifest(folder).model_copy(update={"recipe": {"loss.margin": 0.4}})
    write_manifest(folder, manifest.to_json())
    other = replace(PLAN, recipe={"data.augmentation": "none"})
    with pytest.raises(InvalidInput, match=r'data[.]augmentation was its default and is "none" now: choose another'):
        refuse_other_runs(tmp_path, other)
    # A field that is not used changes nothing, whatever hash an older release has of it.
    refuse_other_runs(tmp_path, replace(PLAN, spec_hash="b" * 64, recipe={"loss.margin": 0.4}))
    refuse_other_runs(tmp_path, replace(PLAN, recipe=None))  # an operator of the release before knows no recipes


def test_steps_go_on_while_a_checkpoint_is_written(slow):
    slow.train(EVERY + 5)
    assert slow.checkpointing.saver.is_busy
    assert slow.saved == []
    assert slow.metric("arcface_train_checkpoint_step") is None
    slow.let_and_train_until_saved()
    assert slow.saved[0] == EVERY
    assert slow.metric("arcface_train_checkpoint_step") == slow.checkpointing.newest.step == slow.saved[-1]


def test_saves_that_become_due_meanwhile_are_made_up_for_by_one_of_the_moment(slow):
    slow.train(3 * EVERY + 5)
    slow.disk.let.set()
    wait_until(lambda: slow.saved == [EVERY] or slow.train(), 60)
    slow.let_and_train_until_saved()
    assert slow.saved[0] == EVERY
    assert slow.saved[1] > 3 * EVERY + 5, "neither 20 nor 30, whose states are gone"
    assert read_manifest(newest_complete(slow.directory)).step == slow.saved[-1]


def test_a_stop_waits_and_saves_its_own_step(slow):
    slow.train(EVERY + 3)
    slow.disk.let.set()
    slow.train(stop=True)
    assert slow.saved == [EVERY, EVERY + 4]
    assert not slow.checkpointing.saver.writer.room.exists()


def test_the_last_step_is_saved_at_once(tmp_path):
    training = Training(tmp_path, Disk(), every_steps=1000)
    training.train(PLAN.total_steps)
    assert training.saved == [PLAN.total_steps]


def test_a_step_in_flight_when_a_save_begins_asks_for_that_save_and_no_other(tmp_path, monkeypatch):
    training = Training(tmp_path, Disk(), every_steps=1000, every_minutes=1)
    late = training.checkpointing.begun_at + 60
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    training.train(2)
    assert training.checkpointing.saver.is_busy
    training.let_and_train_until_saved()
    training.train(5)
    assert (training.saved, training.checkpointing.saver.is_busy) == ([2], False)


def test_a_step_in_flight_when_a_save_is_waited_for_does_not_end_the_next_one(slow):
    """A new best network waits in the middle of a step whose bit tells of the save before."""
    slow.disk.let.set()
    slow.train(EVERY)
    wait_until(lambda: slow.checkpointing.saver.bit == 1)
    slow.disk.let.clear()
    slow.checkpointing.verifications.add(found(EVERY + 1, 0.9))
    slow.train()
    assert slow.in_flight.saving_bits == 1
    slow.train(5)
    assert slow.saved == [EVERY]
    slow.let_and_train_until_saved()
    assert slow.saved == [EVERY, EVERY + 1]


@pytest.mark.parametrize("end", ["stop", "last step"])
def test_a_failure_at_the_end_is_an_error_that_is_worth_a_retry(tmp_path, end):
    training = Training(tmp_path, refusing(errno.ENOSPC), every_steps=1000)
    training.train(PLAN.total_steps - 1)
    with pytest.raises(ArcFaceError, match="No space left on device") as caught:
        training.train(stop=end == "stop")
    assert type(caught.value) is ArcFaceError


def test_an_end_that_is_not_finite_has_diverged(tmp_path):
    training = Training(tmp_path, Disk(), every_steps=1000)
    training.train(3)
    training.state.arrays["norm.moving_mean"][0] = float("inf")
    with pytest.raises(Diverged, match=r"norm\.moving_mean is not finite"):
        training.train(stop=True)


def test_a_save_that_fails_is_told_counted_and_tried_again(tmp_path, monkeypatch):
    training = Training(tmp_path, refusing(errno.EIO))
    training.train(EVERY)
    training.let_and_train_until_saved()
    assert training.saved == []
    assert training.metric("arcface_train_checkpoint_failures_total") == 1
    assert "Input/output error" in training.checkpointing.warnings[0]
    assert not training.checkpointing.is_overdue(), "a disk that has just refused is left alone for a while"
    training.disk.error = None
    late = time.monotonic() + checkpointing.RETRY_SECONDS
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    assert training.checkpointing.is_overdue()
    training.train(2)
    training.let_and_train_until_saved()
    (retried,) = training.saved
    assert EVERY < retried < 2 * EVERY + EVERY
    assert training.checkpointing.warnings == []
    assert training.metric("arcface_train_checkpoint_failures_total") == 1


def test_a_disk_that_hangs_is_told_once_with_step_and_time_and_ends_nothing(tmp_path, monkeypatch, caplog):
    training = Training(tmp_path, Disk())
    training.metrics.checkpoint_pending.follow(training.checkpointing.pending_seconds)
    training.train(EVERY + 1)
    assert training.checkpointing.current_warnings() == []
    late = time.monotonic() + checkpointing.SLOW_SECONDS
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    training.train(5)
    (warning,) = training.checkpointing.current_warnings()
    assert warning == training.checkpointing.current_warnings()[0]
    assert re.fullmatch(
        rf"{tmp_path}: the checkpoint of step {EVERY} is being written since [-0-9]+ [:0-9]+ UTC: .*", warning
    )
    assert training.metric("arcface_train_checkpoint_pending_seconds") >= checkpointing.SLOW_SECONDS
    assert [record.message.split(" reason=")[0] for record in caplog.records] == [f"checkpoint slow step={EVERY}"]
    training.let_and_train_until_saved()
    assert training.saved == [EVERY]
    assert training.checkpointing.current_warnings() == []
    assert training.metric("arcface_train_checkpoint_pending_seconds") == 0


@pytest.fixture
def volume(tmp_path):
    """A real file system, small enough to be filled."""
    with small_volume.mounted(tmp_path / "volume") as folder:
        yield folder


@pytest.mark.parametrize(
    ("trouble", "words"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
def test_a_volume_that_is_full_or_read_only_costs_saves_and_neither_the_training_nor_the_last_checkpoint(
    volume, trouble, words
):
    training = Training(volume, write_tensors)
    training.train(EVERY)
    training.let_and_train_until_saved()
    filler = volume / "filler"
    if trouble == "full":
        with pytest.raises(OSError, match=words):
            filler.write_bytes(bytes(2 << 20))
    else:
        small_volume.make_read_only(volume)
    training.train(EVERY)
    training.let_and_train_until_saved()
    assert words in training.checkpointing.warnings[0]
    assert training.metric("arcface_train_checkpoint_failures_total") == 1
    newest = newest_complete(volume)
    assert [checkpoint_file_is_whole(newest, entry) for entry in read_manifest(newest).files] == [True] * 3
    subprocess.run(["mount", "-o", "remount,rw", volume], check=True)
    filler.unlink(missing_ok=True)
    training.train(stop=True)
    assert training.saved[-1] == training.step


def checkpoint_file_is_whole(folder, entry):
    return file_sha256(folder / entry.name) == entry.sha256


def test_a_failure_is_tried_again_later_though_another_save_waits(tmp_path):
    training = Training(tmp_path, Disk(is_slow=True))
    training.train(2 * EVERY)
    assert training.checkpointing.is_waiting
    training.disk.error = errno.EIO
    training.let_and_train_until_saved()
    assert not training.checkpointing.is_waiting
    assert not training.checkpointing.is_overdue()


def test_a_new_best_network_is_saved_as_it_was_judged(slow):
    slow.train(EVERY + 2)
    slow.checkpointing.verifications.add(found(EVERY + 3, 0.9))
    slow.disk.let.set()
    slow.train()
    slow.let_and_train_until_saved()
    assert EVERY + 3 in slow.saved
    best = slow.checkpointing.best()
    assert (best.path, best.step, best.accuracy) == (f"runs/7/step-{EVERY + 3:08d}", EVERY + 3, 0.9)


def test_a_best_checkpoint_is_not_told_of_before_it_is_there(slow):
    slow.checkpointing.verifications.add(found(1, 0.8))
    slow.train(2)
    assert slow.checkpointing.best() is None
    slow.let_and_train_until_saved()
    assert slow.checkpointing.best().step == 1
    slow.disk.let.clear()
    slow.checkpointing.verifications.add(found(slow.step + 1, 0.9))
    slow.train(2)
    assert slow.checkpointing.best().step == 1


def test_a_best_network_that_could_not_be_saved_is_named_by_no_checkpoint(tmp_path):
    training = Training(tmp_path, refusing())
    training.checkpointing.verifications.add(found(1, 0.9))
    training.train()
    training.let_and_train_until_saved()
    training.disk.error = None
    training.train(stop=True)
    manifest = read_manifest(newest_complete(tmp_path))
    assert (manifest.verification.step, manifest.best) == (1, None)


def test_the_clock_of_the_last_save_counts_from_its_beginning(tmp_path, monkeypatch):
    training = Training(tmp_path, Disk(is_slow=True), every_minutes=1)
    training.train(EVERY)
    late = training.checkpointing.begun_at + 60
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: late))
    assert training.checkpointing.is_overdue()


def test_only_rank_0_looks_at_the_clock(tmp_path):
    training = Training(tmp_path, Disk(), every_minutes=1)
    training.checkpointing.begun_at -= 61
    assert training.checkpointing.is_overdue()
    training.checkpointing.saver.writer.world.rank = 1
    assert not training.checkpointing.is_overdue()


def test_what_the_training_waits_for_checkpoints_is_counted(slow):
    slow.disk.let.set()
    slow.train(stop=True)
    assert slow.metric("arcface_train_checkpoint_wait_seconds_total") > 0


@pytest.fixture
def copying(tmp_path):
    """A rank alone that keeps copies in a folder, as if in shared memory."""
    training = Training(tmp_path / "volume", Disk())
    (tmp_path / "memory").mkdir()
    training.checkpointing.memory = PodMemory.of(tmp_path / "memory", PLAN, World(1, 0), 1, (64, 64))
    return training


class Loading(ArrayState):
    """A state that takes whatever it is given."""

    def load(self, *_tensors, source):
        self.source = source

    def load_loss_scale(self, _saved):
        pass


def let_copy(training):
    """Train until the copy that is due is there; its steps."""
    training.checkpointing._copy_at = 0.0
    training.train(3)
    training.let_and_train_until_saved()
    return training.checkpointing.memory.steps() if training.checkpointing.memory else None


def test_a_copy_is_made_when_the_clock_says_and_is_no_checkpoint(copying):
    copying.train(5)
    assert copying.checkpointing.memory.steps() == []
    assert let_copy(copying) == [7]  # the vote of step 6 is read with step 7
    assert (copying.saved, copying.checkpointing.newest, copying.checkpointing.warnings) == ([], None, [])
    assert copying.checkpointing._copy_at >= time.monotonic() + checkpointing.COPY_SECONDS - 1


def test_a_copy_that_holds_the_training_up_is_made_less_often(copying, monkeypatch):
    snapshot = CheckpointWriter.snapshot

    def slow(*given, **named):
        time.sleep(0.3)
        return snapshot(*given, **named)

    monkeypatch.setattr(CheckpointWriter, "snapshot", slow)
    let_copy(copying)
    assert copying.checkpointing._copy_at >= time.monotonic() + 0.3 * checkpointing.COPY_PATIENCE - 1


def test_memory_that_is_full_ends_the_copies_and_makes_room_for_the_training(copying, monkeypatch, caplog):
    assert let_copy(copying) == [2]
    monkeypatch.setattr(pod_memory.files, "write_tensors", refusing(errno.ENOSPC))
    memory = copying.checkpointing.memory
    assert let_copy(copying) is None
    assert memory.steps() == []
    assert caplog.text.count("no more states are kept in memory") == 1
    assert not copying.checkpointing.is_copy_due()
    copying.train(EVERY)
    copying.let_and_train_until_saved()
    assert copying.saved == [EVERY]
    assert copying.checkpointing.warnings == []


def test_a_checkpoint_that_becomes_due_while_a_copy_is_made_follows_it(copying, monkeypatch):
    disk = Disk(is_slow=True)
    monkeypatch.setattr(pod_memory.files, "write_tensors", disk)
    copying.train(EVERY - 3)
    copying.checkpointing._copy_at = 0.0
    copying.train(6)
    assert (copying.saved, copying.checkpointing.is_waiting) == ([], True)
    assert copying.checkpointing.pending_seconds() == 0
    disk.let.set()
    copying.let_and_train_until_saved()
    assert copying.checkpointing.memory.steps() == [EVERY - 1]
    assert len(copying.saved) == 1


def test_a_way_back_leaves_no_copy_behind(copying):
    copying.train(EVERY)
    copying.let_and_train_until_saved()
    assert len(let_copy(copying)) == 1
    memory, copying.checkpointing.state = copying.checkpointing.memory, Loading()
    assert copying.checkpointing.roll_back(copying.step, "a tensor", copying.metrics) == EVERY
    assert memory.steps() == []


def test_a_run_that_goes_on_from_memory_tells_of_the_newest_checkpoint_and_of_its_own_step(copying):
    copying.train(EVERY)
    copying.let_and_train_until_saved()
    kept = let_copy(copying)
    memory, settings = copying.checkpointing.memory, copying.checkpointing.settings
    run = Checkpointing.start(settings, Loading(), PLAN, World(1, 0), RankIdentity(), memory=memory)
    assert [run.resumed.step] == kept
    assert (run.newest.step, run.newest.resumed_from_step) == (EVERY, kept[0])
