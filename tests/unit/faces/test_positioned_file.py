"""Reads that go on when a disk or a mount has hiccupped."""

import errno
import os

import pytest

from arcface_api import errors
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.records.recordio import RecordFile


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "PAUSES", (0.0, 0.0))
    (tmp_path / "train.rec").write_bytes(b"0123456789")
    return RecordFile(tmp_path / "train.rec")


@pytest.fixture
def stale(file, monkeypatch):
    """As NFS answers for ever for a handle whose server was started anew."""
    pread, old = os.pread, file.descriptor

    def read(descriptor, size, offset):
        if descriptor == old:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", read)


@pytest.mark.usefixtures("stale")
def test_a_stale_file_is_opened_again(file):
    assert file.bytes_at(2, 3) == b"234"
    assert file.bytes_at(8, 9) == b"89"


@pytest.mark.usefixtures("stale")
def test_a_file_that_was_replaced_meanwhile_is_not_read_on(file):
    file.path.write_bytes(b"another one")
    with pytest.raises(InvalidInput, match=r"train\.rec: had 10 bytes and has 11 now"):
        file.bytes_at(2, 3)


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
