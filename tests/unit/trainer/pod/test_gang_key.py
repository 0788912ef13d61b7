"""The secret of a gang's launchers: one for each attempt, beside the checkpoints, and good for one path at a time."""

import os
import stat
from threading import Barrier, Thread

import pytest

from arcface_api.errors import ArcFaceError
from arcface_trainer.pod.gang_key import GangKey


def test_all_pods_of_an_attempt_have_the_same_and_no_other_has_it(tmp_path):
    keys = [GangKey.of(tmp_path / "volume", "u", attempt) for attempt in (3, 3, 4)]
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert GangKey.of(tmp_path / "volume", "v", 4) != keys[2]


def test_it_is_for_this_user_alone_and_the_next_attempt_removes_it(tmp_path):
    GangKey.of(tmp_path, "u", 3)
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)] == [0o700, 0o600]
    GangKey.of(tmp_path, "u", 4)
    assert [path.name for path in tmp_path.iterdir()] == [".launchers-u-4"]


def test_pods_that_ask_at_once_have_the_same(tmp_path):
    barrier, keys = Barrier(8), []

    def ask():
        barrier.wait()
        keys.append(GangKey.of(tmp_path / "volume", "u", 3))

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in (tmp_path / "volume").iterdir()] == [".launchers-u-3"]


def test_a_pod_that_dies_while_it_writes_leaves_none_and_the_next_attempt_removes_what_it_left(tmp_path):
    if (child := os.fork()) == 0:
        os.fsync = lambda _: os._exit(9)  # before it is published
        GangKey.of(tmp_path, "u", 3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(GangKey.of(tmp_path, "u", 3).secret) == 32
    assert len(list(tmp_path.iterdir())) == 2
    GangKey.of(tmp_path, "u", 4)
    assert [path.name for path in tmp_path.iterdir()] == [".launchers-u-4"]


@pytest.mark.parametrize("content", [b"", bytes(31), None], ids=["empty", "short", "a file in its place"])
def test_a_damaged_one_is_told_of_and_all_pods_take_the_same_other_one(tmp_path, content, caplog):
    place = tmp_path / ".launchers-u-3"
    if content is None:
        place.write_bytes(bytes(31))
    else:
        place.mkdir()
        (place / "key").write_bytes(content)
    keys = {GangKey.of(tmp_path, "u", 3) for _ in range(3)}
    assert [len(key.secret) for key in keys] == [32]
    assert f"{place / 'key'}: is no key" in caplog.text
    (tmp_path / ".launchers-u-3.2" / "key").write_bytes(b"")
    with pytest.raises(ArcFaceError, match=r"launchers-u-3\.2: is no key, nor is the one before it"):
        GangKey.of(tmp_path, "u", 3)


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
