"""The index of a set: made once, kept beside the data or elsewhere, never taken for another set's."""

import errno
import fcntl
import logging
import multiprocessing
import os
import time

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.datasets import index_store
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.datasets.index import DatasetIndex
from arcface_faces.records import layout
from support.builders.record_file import image, record, write_records

NAME = "arcface-index-1"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = tmp_path / "data"
    folder.mkdir()
    write_records(folder, {key: record(image(key // 2, key, b"p" * key)) for key in range(1, 6)})
    return folder


@pytest.fixture
def made(monkeypatch):
    """Folders of each index that is really made."""
    seen = []

    def find(directory):
        seen.append(directory)
        return find_images(directory)

    find_images = layout.find_images
    monkeypatch.setattr(layout, "find_images", find)
    return seen


def content(faces):
    return {name: column.tolist() for name, column in faces.index.columns.items()}, faces.fingerprint, faces.class_count


def test_an_index_is_made_once_and_mapped_then(data, made):
    first, second = open_dataset(data), open_dataset(data)
    assert content(first) == content(second)
    assert len(made) == 1
    assert not second.labels.flags.owndata
    assert not second.labels.flags.writeable


def test_no_other_file_is_left_beside_the_data(data):
    open_dataset(data)
    assert {path.name for path in data.iterdir()} == {"train.rec", "train.idx", NAME}


@pytest.mark.parametrize("name", ["train.rec", "train.idx"])
def test_a_newer_file_is_read_anew(data, made, name):
    open_dataset(data)
    status = (data / name).stat()
    os.utime(data / name, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    open_dataset(data)
    assert len(made) == 2


def test_a_property_file_that_comes_later_is_heeded(data, made):
    open_dataset(data)
    (data / "property").write_text("2,112,112")
    with pytest.raises(InvalidInput, match="announces 2 identities"):
        open_dataset(data)


def test_identities_left_out_have_an_index_of_their_own(data, made):
    assert [len(open_dataset(data, fewest).labels) for fewest in (1, 2, 1, 2)] == [5, 4, 5, 4]
    assert len(made) == 2


def cut_short(good, at):
    return good[:at]


def with_a_flipped_bit(good, at):
    return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]


@pytest.mark.parametrize("damaged", [cut_short, with_a_flipped_bit])
def test_a_damaged_index_never_gives_another_set(data, damaged, caplog):
    caplog.set_level(logging.CRITICAL)
    whole = content(open_dataset(data))
    place = data / NAME
    good = place.read_bytes()
    for at in range(0, len(good), 7):
        place.write_bytes(damaged(good, at))
        assert content(open_dataset(data)) == whole


def test_a_damaged_index_is_replaced(data, made):
    open_dataset(data)
    (data / NAME).write_bytes(with_a_flipped_bit((data / NAME).read_bytes(), 4200))
    open_dataset(data)
    open_dataset(data)
    assert len(made) == 2


@pytest.mark.parametrize("other", [b"", b"{}", b"not an index", b"\x93NUMPY\x01\x00"])
def test_something_else_in_the_place_of_the_index_is_replaced(data, made, other):
    (data / NAME).write_bytes(other)
    open_dataset(data)
    open_dataset(data)
    assert len(made) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_others_may_read_an_index_as_the_umask_says(data, umask, mode):
    before = os.umask(umask)
    try:
        open_dataset(data)
    finally:
        os.umask(before)
    assert (data / NAME).stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_index_without_the_right_to_read_it_is_not_called_damaged(data, caplog):
    open_dataset(data)
    (data / NAME).chmod(0o600)
    os.seteuid(65534)
    try:
        assert index_store._map(data / NAME, "anything") is None
    finally:
        os.seteuid(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture
def read_only(data):
    data.chmod(0o555)
    yield data
    data.chmod(0o755)


def test_the_index_of_read_only_data_is_kept_beside_the_checkpoints(read_only, made, tmp_path):
    for _ in range(2):
        open_dataset(read_only, beside=tmp_path / "checkpoints")
    assert len(made) == 1
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert kept.name.startswith(f"{NAME}-")


def test_without_checkpoints_it_is_kept_for_the_user(read_only, made, tmp_path):
    for _ in range(2):
        open_dataset(read_only)
    assert len(made) == 1
    assert len(list((tmp_path / "caches" / "arcface").iterdir())) == 1


def test_records_are_read_where_nothing_can_be_kept(read_only, made, tmp_path):
    (tmp_path / "caches").write_text("a file, not a folder")
    faces = [open_dataset(read_only) for _ in range(2)]
    assert len(made) == 2
    assert content(faces[0]) == content(faces[1])


def test_two_sets_of_one_name_do_not_share_a_place(tmp_path):
    first, second = (index_store.IndexStore.of(tmp_path / name, 1, tmp_path) for name in ("a", "b"))
    assert not set(first._places("set")) & set(second._places("set"))


def changed_at(data, seconds):
    for name in ("train.rec", "train.idx"):
        os.utime(data / name, (seconds, seconds))


def test_copies_of_a_set_at_one_path_keep_an_index_each_beside_the_checkpoints(read_only, made, tmp_path):
    """As nodes with local copies do, whose files have the times at which they were copied."""
    for host in (1, 2, 1, 2):
        changed_at(read_only, host)
        open_dataset(read_only, beside=tmp_path / "checkpoints")
    assert len(made) == 2
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_of_many_copies_those_that_were_opened_lately_and_the_newest_stay(read_only, made, tmp_path, monkeypatch):
    monkeypatch.setattr(index_store, "KEPT", 2)
    month, now = index_store.KEPT_SECONDS, time.time()
    folder = tmp_path / "checkpoints"

    def opened(host, ago):
        """What is kept after a host opened its copy, and what that host calls it."""
        changed_at(read_only, host)
        before = set(folder.glob("*"))
        open_dataset(read_only, beside=folder)
        (newest,) = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[-1:]
        os.utime(newest, (now - ago, now - ago))
        return set(folder.iterdir()) - before

    unused, used, lately = (opened(host, ago).pop() for host, ago in ((1, 3 * month), (2, 2 * month), (3, month / 2)))
    assert opened(2, month / 3) == set()
    newest = opened(4, 0).pop()
    assert set(folder.iterdir()) == {used, lately, newest}
    assert len(made) == 4
    assert not unused.exists()


def test_an_index_that_somebody_may_have_mapped_stays(read_only, tmp_path, monkeypatch):
    monkeypatch.setattr(index_store, "KEPT", 1)
    for host in range(4):
        changed_at(read_only, host)
        open_dataset(read_only, beside=tmp_path / "checkpoints")
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


def test_missing_files_are_named(data):
    (data / "train.idx").unlink()
    with pytest.raises(InvalidInput, match=r"train\.idx: cannot be read"):
        open_dataset(data)


def load_counted(place, log, gate):
    """In a process of its own: tells a file of each making."""

    def make():
        with log.open("a") as file:
            file.write("made\n")
        return DatasetIndex({"labels": np.zeros(3, np.int32)}, 1, 0, "0" * 64)

    gate.wait()
    assert index_store.IndexStore(place).load("set", make).columns["labels"].tolist() == [0, 0, 0]


def test_of_processes_that_start_together_one_makes_the_index(tmp_path):
    fork = multiprocessing.get_context("fork")
    gate, log, place = fork.Event(), tmp_path / "log", tmp_path / NAME
    processes = [fork.Process(target=load_counted, args=(place, log, gate)) for _ in range(4)]
    for process in processes:
        process.start()
    gate.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == "made\n"
    assert {path.name for path in tmp_path.iterdir()} == {"log", NAME}


def test_whoever_has_waited_too_long_makes_one_of_its_own(data, made, monkeypatch, caplog):
    monkeypatch.setattr(index_store, "PATIENCE_SECONDS", 0.0)
    with (data / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        open_dataset(data)
    assert len(made) == 1
    assert "after a wait" in caplog.text


def test_a_volume_without_locks_is_done_without(data, made, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(index_store.fcntl, "flock", refuse)
    open_dataset(data)
    open_dataset(data)
    assert len(made) == 1
