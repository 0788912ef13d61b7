"""The text of an index: what is read of it, what is refused."""

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.records import index as record_index
from arcface_faces.records.index import read_index


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.idx"


def rows(index):
    return list(zip(index.keys.tolist(), index.offsets.tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1\t0\n2\t40\n0\t80\n", id="as the classic builder writes it"),
        pytest.param("1\t0\n2\t40\n0\t80", id="no newline at the end"),
        pytest.param("1\t0\r\n2\t40\r\n0\t80\r\n", id="windows"),
        pytest.param("1 0\n2  40 \n0 \t 80\n\n \n", id="blanks"),
        pytest.param("1\t0\n2\t40\n0\t80\n\x0b\x0c\n", id="page breaks at the end"),
        pytest.param("01\t00\n02\t040\n00\t80\n", id="leading zeros"),
    ],
)
def test_lines_are_keys_and_offsets_in_their_own_order(path, text):
    path.write_text(text, newline="")
    assert rows(read_index(path, 81)) == [(1, 0), (2, 40), (0, 80)]


def test_keys_beyond_what_float32_counts_are_kept(path):
    keys = [2**24, 2**24 + 1, 2**31, 10**18 - 1]
    path.write_text("".join(f"{key}\t{4 * row}\n" for row, key in enumerate(keys)))
    index = read_index(path, 17)
    assert index.keys.tolist() == keys
    assert index.keys.dtype == index.offsets.dtype == np.int64
    assert index.where(2) == f"{path}:3"


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        pytest.param("1\t0\n2\n", 2, "'2'", id="one number"),
        pytest.param("1\t0\n\n2\t4\n", 2, "''", id="empty line inside"),
        pytest.param("1\t0\t2\n", 1, r"'1\\t0\\t2'", id="three numbers"),
        pytest.param("-1\t0\n", 1, r"'-1\\t0'", id="negative key"),
        pytest.param("1\t-4\n", 1, r"'1\\t-4'", id="negative offset"),
        pytest.param("1.0\t0\n", 1, r"'1\.0\\t0'", id="fraction"),
        pytest.param("1\t" + "9" * 19 + "\n", 1, "'1", id="beyond 64 bits"),
        pytest.param("key\toffset\n1\t0\n", 1, "'key", id="heading"),
        pytest.param("1\t0\n\x00\x01", 2, r"'\\x00\\x01'", id="binary"),
        pytest.param("x" * 1000, 1, "'x{40}' is not", id="a long line is cut"),
    ],
)
def test_the_first_line_that_is_not_two_numbers_is_named(path, text, line, shown):
    path.write_text(text)
    with pytest.raises(InvalidInput, match=rf"train\.idx:{line}: {shown}"):
        read_index(path, 1000)


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_an_empty_index_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"train\.idx: is empty"):
        read_index(path, 1000)


def test_a_key_that_occurs_twice_is_named_with_both_lines(path):
    path.write_text("7\t0\n3\t8\n5\t16\n3\t24\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:4: key 3 occurs twice \(first on line 2\)"):
        read_index(path, 1000)


def test_an_offset_that_occurs_twice_is_named_with_both_lines(path):
    path.write_text("7\t0\n3\t8\n5\t16\n4\t8\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:4: offset 8 occurs twice \(first on line 2\)"):
        read_index(path, 1000)


def test_an_offset_at_or_beyond_the_end_is_named(path):
    path.write_text("1\t0\n2\t40\n3\t80\n")
    assert len(read_index(path, 81).keys) == 3
    with pytest.raises(
        InvalidInput, match=r"train\.idx:3: offset 80 lies beyond the end of the record file \(80 bytes\)"
    ):
        read_index(path, 80)


def test_an_index_cut_short_never_gives_another_row(path):
    text = "1\t0\n2\t40\n10\t80\n"
    path.write_text(text)
    whole = rows(read_index(path, 1000))
    for size in range(1, len(text)):
        path.write_text(text[:size])
        try:
            found = rows(read_index(path, 1000))
        except InvalidInput:
            continue
        # A number that lost its last digits cannot be told from a shorter one: only the last row may differ.
        assert found[:-1] == whole[: len(found) - 1]


def test_a_missing_index_is_named(path):
    with pytest.raises(InvalidInput, match=r"train\.idx: cannot be read \(No such file or directory\): put it "):
        read_index(path, 1000)


def test_a_large_index_with_a_fault_at_its_end_is_refused_in_one_pass(path):
    path.write_text("".join(f"{row}\t{8 * row}\n" for row in range(100_000)) + "100000\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:100001: "):
        read_index(path, 10**9)


def test_rows_do_not_depend_on_the_size_of_the_blocks(path, monkeypatch):
    for text in ("1\t0\r\n2 40 \n10\t80\n0\t120\n\n \x0c", "1\t0\n2\t40\n10\t80\n0\t120"):
        path.write_text(text, newline="")
        for block in range(8, 40):
            monkeypatch.setattr(record_index, "BLOCK", block)
            assert rows(read_index(path, 1000)) == [(1, 0), (2, 40), (10, 80), (0, 120)]


def test_a_fault_behind_the_first_block_is_named_by_its_line_in_the_file(path, monkeypatch):
    monkeypatch.setattr(record_index, "BLOCK", 64)
    path.write_text("".join(f"{row}\t{8 * row}\n" for row in range(100)) + "100\n101\t808\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:101: '100' is not"):
        read_index(path, 10**6)


def test_a_file_without_lines_is_refused_after_its_first_block(path, monkeypatch):
    monkeypatch.setattr(record_index, "BLOCK", 64)
    path.write_bytes(b"1" * 10_000)
    with pytest.raises(InvalidInput, match=r"train\.idx:1: '1{40}' is not"):
        read_index(path, 10**6)
