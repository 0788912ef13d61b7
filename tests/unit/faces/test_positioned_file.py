"""Reads that go on when a disk or a mount has hiccupped."""

import errno
import os
import socket
from pathlib import Path

import pytest

from arcface_api import errors
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.checkpoint import MANIFEST_FILE, file_sha256, parse_manifest
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.pairs.pair_set import read_pair_pickle
from arcface_faces.positioned_file import open_regular, read_regular
from arcface_faces.records.files import read_property
from arcface_faces.records.index import read_index
from arcface_faces.records.recordio import RecordFile


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "PAUSES", (0.0, 0.0))
    (tmp_path / "train.rec").write_bytes(b"0123456789")
    return RecordFile(tmp_path / "train.rec")


@pytest.fixture
def stale(file, monkeypatch):
    """As NFS answers for ever for a handle whose server was started anew."""
    pread, dup2, stale = os.pread, os.dup2, {file.descriptor}

    def read(descriptor, size, offset):
        if descriptor in stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(descriptor, size, offset)

    def replace(new, old, **more):
        stale.discard(old)
        return dup2(new, old, **more)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(os, "dup2", replace)
    return stale


@pytest.mark.usefixtures("stale")
def test_a_stale_file_is_opened_again(file):
    assert file.bytes_at(2, 3) == b"234"
    assert file.bytes_at(8, 9) == b"89"


@pytest.mark.usefixtures("stale")
def test_a_file_that_was_replaced_meanwhile_is_not_read_on(file):
    file.path.write_bytes(b"another one")
    with pytest.raises(InvalidInput, match=r"train\.rec: had 10 bytes and has 11 now"):
        file.bytes_at(2, 3)


def test_a_file_that_is_stale_again_and_again_holds_one_descriptor(file, stale):
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        stale.add(file.descriptor)
        assert file.bytes_at(2, 3) == b"234"
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert not os.get_inheritable(file.descriptor)


def test_a_disk_that_stays_away_is_worth_a_later_try_and_no_damage(file, monkeypatch):
    tries = []

    def fail(*_):
        tries.append(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(ArcFaceError, match=r"cannot be read at byte 2 .*: this may pass, try again") as caught:
        file.bytes_at(2, 3)
    assert not isinstance(caught.value, InvalidInput)
    assert len(tries) == 4


READERS = {
    "train.rec": RecordFile,
    "train.idx": lambda path: read_index(path, 100),
    "property": read_property,
    "lfw.bin": read_pair_pickle,
    MANIFEST_FILE: lambda path: parse_manifest(path.parent),
    "backbone.safetensors": file_sha256,
    "0.jpg": lambda path: open_dataset(path.parent.parent, 1).image_bytes(0),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_the_place_of_a_file_is_refused_by_name_and_not_waited_for(tmp_path, name):
    path = tmp_path / "set" / name
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(InvalidInput, match=rf"{name}: is not a file"):
        READERS[name](path)


def test_devices_and_sockets_are_refused_and_a_file_is_read_whole(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="/dev/zero: is not a file but a pipe or a device"):
        open_regular(Path("/dev/zero"))
    monkeypatch.chdir(tmp_path)  # the name of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="No such device or address"):
            open_regular("socket")
    (tmp_path / "file").write_bytes(b"content")
    assert read_regular(tmp_path / "file") == b"content"
