"""The secret of a gang's launchers: one for each attempt, beside the checkpoints, and good for one path at a time."""

import os
import stat

import pytest

from arcface_trainer.pod.gang_key import GangKey


def test_all_pods_of_an_attempt_have_the_same_and_no_other_has_it(tmp_path):
    keys = [GangKey.of(tmp_path / "volume", "u", attempt) for attempt in (3, 3, 4)]
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert GangKey.of(tmp_path / "volume", "v", 4) != keys[2]


def test_it_is_for_this_user_alone_and_the_next_attempt_removes_it(tmp_path):
    GangKey.of(tmp_path, "u", 3)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    GangKey.of(tmp_path, "u", 4)
    assert [path.name for path in tmp_path.iterdir()] == [".launchers-u-4"]


def test_one_that_is_being_written_is_none_yet(tmp_path):
    (tmp_path / ".launchers-u-3").write_bytes(os.urandom(31))
    assert GangKey.of(tmp_path, "u", 3) is None


def test_a_link_to_another_file_is_not_written_through(tmp_path):
    (tmp_path / ".launchers-u-3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"launchers-u-3"):
        GangKey.of(tmp_path, "u", 3)
    assert not (tmp_path / "elsewhere").exists()


def test_a_signature_is_that_of_rfc_2104_and_of_one_message_alone():
    # RFC 4231, test case 2.
    key = GangKey(b"Jefe")
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert key.sign(b"what do ya want for nothing?") == expected
    assert key.has_signed(expected, b"what do ya want for nothing?")
    for signature in (None, "", expected.upper(), "\xe9", expected[:-1]):
        assert not key.has_signed(signature, b"what do ya want for nothing?")
    assert not key.has_signed(key.sign(b"GET", b"/states/0/0", b""), b"GET", b"/states/0/2", b"")
