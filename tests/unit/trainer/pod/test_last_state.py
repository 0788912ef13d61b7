"""The newest state in memory as a checkpoint: whole, or none at all."""

import itertools
import os
import shutil
import sys
from threading import Barrier, Thread

import pytest

from arcface_api.errors import ArcFaceError
from arcface_faces import checkpoint
from arcface_trainer.pod import mirror
from arcface_trainer.pod.last_state import LastState
from support.builders.pod_memories import RANKS, common, head_of
from support.builders.saved_states import flip_the_last_bit, saving

NAME = "step-00000008"


@pytest.fixture
def volume(tmp_path):
    """The job's, on which rank 0 has made room for what is not published yet."""
    (tmp_path / "volume" / ".writing-u-3").mkdir(parents=True)
    return tmp_path / "volume"


@pytest.fixture
def pods(gang, volume):
    """Two pods with states in memory, the second one's copied by the first."""
    first, second, _ = gang
    for step in (4, 8):
        for pod in (first, second):
            pod.keep(step)
    first.peers.shelf()
    second.peers.addresses(second.peers.shelf())
    return first, second


def last_of(pod):
    return LastState.of(pod.config, pod.launches.identity, pod.folder)


def saved(pod):
    return last_of(pod).save()


def published(volume):
    return sorted(path.name for path in volume.glob("step-*"))


def check_is_the_state(folder, step=8, course=1.0):
    """Every class's centre and every weight, computed anew."""
    manifest = checkpoint.read_manifest(folder)
    assert list(checkpoint.damages(folder, manifest)) == []
    assert (manifest.step, manifest.world_size, manifest.spec_hash) == (step, RANKS, "a" * 64)
    for rank in range(RANKS):
        classes = checkpoint.class_range(manifest.class_count, RANKS, rank)
        found = checkpoint.read_head(folder, manifest, classes)
        assert all((found[name] == array).all() for name, array in head_of(rank, step, course).items())
    for name, tensors in common(step, course).items():
        found = checkpoint.read_file(folder, manifest, name)
        assert all((found[tensor] == array).all() for tensor, array in tensors.items())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_of_the_launchers_that_end_publishes_what_all_have_written(pods, volume, order):
    assert not saved(pods[order[0]])
    assert published(volume) == []
    assert saved(pods[order[1]])
    assert published(volume) == [NAME]
    check_is_the_state(volume / NAME)
    assert list((volume / ".writing-u-3").iterdir()) == []


def test_launchers_that_end_at_once_publish_it_once(pods, volume):
    barrier, results = Barrier(2), []

    def end(pod):
        state = last_of(pod)
        barrier.wait()
        try:
            results.append(state.save())
        except (OSError, ArcFaceError) as error:  # the other one was through in the midst of it
            results.append(error)

    threads = [Thread(target=end, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    check_is_the_state(volume / NAME)


def test_the_copies_of_a_lost_pods_heads_make_it_whole(pods, volume, monkeypatch):
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 0.0)
    first, second = pods
    first.mirror().look()
    shutil.rmtree(second.folder)
    assert saved(first)
    check_is_the_state(volume / NAME)


def test_without_a_lost_pods_heads_there_is_no_checkpoint(pods, volume):
    shutil.rmtree(pods[1].folder)
    assert not saved(pods[0])
    assert published(volume) == []


def test_copies_of_another_course_of_the_training_are_left_out(pods, volume, monkeypatch):
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 0.0)
    first, second = pods
    first.mirror().look()
    for rank in (0, 1):
        shutil.rmtree(first.state(rank, 8))
    first.keep(8, course=2.0)
    assert not saved(first)
    assert not saved(second)
    assert published(volume) == []


@pytest.mark.parametrize("step", [8, 12])
def test_a_volume_that_has_one_as_new_is_left_alone(pods, volume, step):
    saving(volume)(step)
    assert last_of(pods[0]) is None


def test_an_older_one_on_the_volume_stays(pods, volume):
    saving(volume)(4)
    (volume / ".writing-u-3").mkdir()
    for pod in pods:
        saved(pod)
    assert published(volume) == ["step-00000004", NAME]


def test_a_pod_without_a_state_that_all_its_ranks_have_saves_none(pods, volume):
    shutil.rmtree(pods[0].folder / "rank-1")
    assert last_of(pods[0]) is None


def test_a_state_of_another_number_of_ranks_is_none(pods, volume):
    other = pods[0].config.ranks.model_copy(update={"world_size": 8})
    config = pods[0].config.model_copy(update={"ranks": other})
    assert LastState.of(config, pods[0].launches.identity, pods[0].folder) is None


@pytest.mark.parametrize("name", ["head-000000003.safetensors", "manifest.json"])
def test_what_is_damaged_in_memory_is_not_written(pods, volume, name):
    saved(pods[1])
    damaged = pods[0].state(1, 8) / name
    state = last_of(pods[0])
    flip_the_last_bit(damaged)
    with pytest.raises(ArcFaceError):
        state.save()
    assert published(volume) == []
    assert not list(volume.glob(".writing-u-3/*/.rank-*"))


def test_nothing_is_published_once_another_gang_has_begun(pods, volume):
    saved(pods[1])
    state = last_of(pods[0])
    (volume / ".writing-u-3").rename(volume / "moved-away")
    with pytest.raises(FileNotFoundError):
        state.save()
    assert published(volume) == []


def test_nothing_is_published_where_another_gang_begins_in_the_midst(pods, volume, monkeypatch):
    saved(pods[1])
    read = checkpoint.read_manifest

    def read_and_begin(folder):
        manifest = read(folder)
        (volume / ".writing-u-3").rename(volume / "moved-away")
        return manifest

    state = last_of(pods[0])
    monkeypatch.setattr(checkpoint, "read_manifest", read_and_begin)
    with pytest.raises(FileNotFoundError):
        state.save()
    assert published(volume) == []


def test_a_checkpoint_of_the_step_that_appears_meanwhile_stays(pods, volume):
    saved(pods[1])
    state = last_of(pods[0])
    (volume / NAME).mkdir()
    (volume / NAME / "manifest.json").write_text("of another")
    with pytest.raises(OSError, match=NAME):
        state.save()
    assert (volume / NAME / "manifest.json").read_text() == "of another"


EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
"""Of the interpreter, before what a file system is asked for."""


def save_until(pod, event):
    """Have a launcher save in a process that is killed before it asks for that; whether it came through before."""
    if (child := os.fork()) == 0:
        left = itertools.count(event, -1)
        sys.addaudithook(lambda name, _: os._exit(9) if name in EVENTS and next(left) == 0 else None)
        last_of(pod).save()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_killed_at_any_moment_it_has_published_all_or_nothing_and_the_older_one_is_whole(pods, volume):
    saving(volume)(4)
    (volume / ".writing-u-3").mkdir()
    older = {path.name: path.read_bytes() for path in (volume / "step-00000004").iterdir()}
    found, events = [], itertools.count(0, 3)
    saved(pods[0])
    while not save_until(pods[1], next(events)):
        found.append(published(volume)[1:])
        assert {path.name: path.read_bytes() for path in (volume / "step-00000004").iterdir()} == older
        if found[-1]:
            check_is_the_state(volume / NAME)
            shutil.rmtree(volume / NAME)
        shutil.rmtree(volume / ".writing-u-3")  # as the next gang does
        (volume / ".writing-u-3").mkdir()
        saved(pods[0])
    check_is_the_state(volume / NAME)
    assert len(found) > 15
    assert found == sorted(found)  # none, up to the rename
