import logging
import os

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.records import table_cache
from arcface_faces.records.table_cache import load_records
from support.builders.record_file import image, record, write_records

COLUMNS = ("keys", "offsets", "extents", "image_sizes", "flags", "labels")


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    data = tmp_path / "data"
    data.mkdir()
    return write_records(data, {key: record(image(key // 2, key, b"p" * key)) for key in range(1, 6)})


@pytest.fixture
def scans(monkeypatch):
    """Records of each scan that really happens."""
    seen = []

    def scan(records, index):
        seen.append(records)
        return scan_records(records, index)

    scan_records = table_cache.scan_records
    monkeypatch.setattr(table_cache, "scan_records", scan)
    return seen


def beside(records):
    return records.with_suffix(".arcface-index.npz")


def assert_same(table, other):
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(table, column), getattr(other, column))


def test_records_are_scanned_once(paths, scans):
    first, second = load_records(*paths), load_records(*paths)
    assert_same(first, second)
    assert len(scans) == 1
    assert beside(paths[0]).is_file()


def test_no_other_file_is_left_beside_the_data(paths):
    load_records(*paths)
    assert {path.name for path in paths[0].parent.iterdir()} == {"train.rec", "train.idx", "train.arcface-index.npz"}


@pytest.mark.parametrize("which", [0, 1], ids=["records", "index"])
def test_a_newer_file_is_scanned_anew(paths, scans, which):
    load_records(*paths)
    status = paths[which].stat()
    os.utime(paths[which], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    load_records(*paths)
    assert len(scans) == 2


def test_a_file_of_another_size_and_the_same_time_is_scanned_anew(paths, scans):
    load_records(*paths)
    status = paths[0].stat()
    paths[0].write_bytes(paths[0].read_bytes() + record(b""))
    os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    load_records(*paths)
    assert len(scans) == 2


def cut_short(good, at):
    return good[:at]


def with_a_flipped_bit(good, at):
    return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]


@pytest.mark.parametrize("damaged", [cut_short, with_a_flipped_bit])
def test_a_damaged_cache_never_gives_another_table(paths, damaged, caplog):
    caplog.set_level(logging.CRITICAL)
    whole = load_records(*paths)
    place = beside(paths[0])
    good = place.read_bytes()
    made_from = table_cache._fingerprint_of(*paths)
    # Every seventh byte meets each kind of byte in the seven arrays of the file.
    for at in range(0, len(good), 7):
        place.write_bytes(damaged(good, at))
        table = table_cache._read(place, made_from)
        if table is not None:
            assert_same(table, whole)


def test_a_cache_that_says_it_is_encrypted_is_replaced(paths, scans):
    load_records(*paths)
    good = beside(paths[0]).read_bytes()
    flags_of_the_first_entry = good.index(b"PK\x01\x02") + 8
    beside(paths[0]).write_bytes(with_a_flipped_bit(good, flags_of_the_first_entry))
    load_records(*paths)
    load_records(*paths)
    assert len(scans) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"not a cache"])
def test_something_else_in_the_place_of_the_cache_is_replaced(paths, scans, content):
    beside(paths[0]).write_bytes(content)
    load_records(*paths)
    load_records(*paths)
    assert len(scans) == 1


def test_a_single_array_in_the_place_of_the_cache_is_replaced(paths, scans):
    with beside(paths[0]).open("wb") as file:
        np.save(file, np.zeros(3))
    load_records(*paths)
    load_records(*paths)
    assert len(scans) == 1


def test_pickled_objects_in_a_cache_are_not_executed(paths, scans, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    arrays = {column: np.array([Bomb()], dtype=object) for column in COLUMNS}
    np.savez(beside(paths[0]), made_from=table_cache._fingerprint_of(*paths), **arrays)
    load_records(*paths)
    assert len(scans) == 1
    assert not (tmp_path / "executed").exists()


def test_columns_of_other_types_or_lengths_are_scanned_anew(paths, scans):
    table = load_records(*paths)
    good = {column: getattr(table, column) for column in COLUMNS}
    for column, wrong in [("offsets", good["offsets"][:-1]), ("labels", good["labels"].astype(np.float64))]:
        np.savez(beside(paths[0]), made_from=table_cache._fingerprint_of(*paths), **{**good, column: wrong})
        assert_same(load_records(*paths), table)
    assert len(scans) == 3


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_others_may_read_a_cache_as_the_umask_says(paths, umask, mode):
    before = os.umask(umask)
    try:
        load_records(*paths)
    finally:
        os.umask(before)
    assert beside(paths[0]).stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_cache_without_the_right_to_read_it_is_not_called_damaged(paths, caplog, tmp_path):
    load_records(*paths)
    place = beside(paths[0])
    place.chmod(0o600)
    os.seteuid(65534)
    try:
        assert table_cache._read(place, table_cache._fingerprint_of(*paths)) is None
    finally:
        os.seteuid(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_folder_that_stays_as_it_is_sends_the_cache_to_the_user(paths, scans, tmp_path):
    paths[0].parent.chmod(0o555)
    load_records(*paths)
    load_records(*paths)
    paths[0].parent.chmod(0o755)
    assert len(scans) == 1
    assert not beside(paths[0]).exists()
    assert len(list((tmp_path / "caches" / "arcface").glob("*.npz"))) == 1


def test_records_are_read_where_nothing_can_be_cached(paths, scans, tmp_path):
    (tmp_path / "caches").write_text("a file, not a folder")
    paths[0].parent.chmod(0o555)
    load_records(*paths)
    load_records(*paths)
    paths[0].parent.chmod(0o755)
    assert len(scans) == 2


def test_two_sets_of_one_name_do_not_share_a_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = {table_cache._places(tmp_path / name / "train.rec")[1] for name in ("a", "b")}
    assert len(places) == 2


def test_missing_files_are_told_by_name(paths):
    paths[1].unlink()
    with pytest.raises(InvalidInput, match=r"train\.idx: cannot be read"):
        load_records(*paths)
    paths[0].unlink()
    with pytest.raises(InvalidInput, match=r"train\.rec: cannot be opened"):
        load_records(*paths)
