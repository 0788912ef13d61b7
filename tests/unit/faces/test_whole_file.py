"""Files that are there whole or not at all."""

import contextlib
import os
import resource
import signal
import threading

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.whole_file import check_writable, replacing, undoing, write_whole

OLD, NEW = "what was there\n", "x" * 100_000 + "\n"


def names(folder):
    return [path.name for path in folder.iterdir()]


@contextlib.contextmanager
def full_disk():
    """A disk with room for 4 KB more: the kernel refuses the rest, as at the end of a quota.

    For as short as may be, since it holds for all that this process writes: what pytest prints may go to a file, too.
    """
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_goes_where_what_belongs_to_it_fails(tmp_path):
    path = tmp_path / "set.bin"
    for text, remain in (("x", []), (NEW, ["set.bin"])):
        path.write_text(text)
        with contextlib.suppress(InvalidInput), undoing(path):
            if text != NEW:
                raise InvalidInput("a disk that is full")
        assert names(tmp_path) == remain
    with undoing(None):
        pass


def test_what_was_there_outlives_a_disk_that_is_full(tmp_path):
    path = tmp_path / "out.json"
    path.write_text(OLD)
    with full_disk(), pytest.raises(ArcFaceError, match=r"out\.json: cannot be written \(File too large\)"):
        write_whole(path, NEW)
    assert path.read_text() == OLD
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("name", ["out.json", "Prüfung mit Leerzeichen.json", "名前.json"])
def test_a_file_is_replaced_with_the_rights_that_it_had(tmp_path, name):
    path = tmp_path / name
    path.write_text(OLD)
    path.chmod(0o640)
    write_whole(path, NEW)
    assert path.read_text() == NEW
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == [name]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "there" / "out.json")
    check_writable(tmp_path / "link.json", "--json")
    write_whole(tmp_path / "link.json", NEW)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "there" / "out.json").read_text() == NEW


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    check_writable(pipe, "--json")
    write_whole(pipe, NEW)
    reader.join()
    assert read == [NEW]
    assert pipe.is_fifo()


def test_what_a_killed_process_left_goes_and_what_belongs_to_other_files_stays(tmp_path):
    path, others = tmp_path / "out [1].json", [".out [1].json", ".out 1.json.0123abcd.partial", "x.0123abcd.partial"]
    for name in (".out [1].json.0123abcd.partial", *others):
        (tmp_path / name).write_text("half of")
    write_whole(path, NEW)
    assert sorted(names(tmp_path)) == sorted([path.name, *others])


def test_several_who_write_one_file_at_once_each_write_all_of_theirs(tmp_path):
    path = tmp_path / "out.json"
    with replacing(path) as first:
        first.write(b"first")
        with replacing(path) as second, contextlib.suppress(InvalidInput), replacing(path) as third:
            second.write(b"second")
            third.write(b"third")
            assert len(names(tmp_path)) == 3
            raise InvalidInput("a third one that fails")
        assert path.read_bytes() == b"second"
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["out.json"]


def test_wrong_places_are_named_beforehand(tmp_path):
    (tmp_path / "file").touch()
    for path, said in {
        tmp_path: "is a folder; name a file in it",
        tmp_path / "none" / "out.json": "its folder is not there",
        tmp_path / "file" / "out.json": "its folder is not there|cannot be looked for",
        tmp_path / ("x" * 300): "cannot be looked for",
        tmp_path / ("x" * 250): "cannot be looked for",  # the hidden name is longer
    }.items():
        with pytest.raises(InvalidInput, match=f"--json .*({said})"):
            check_writable(path, "--json")
