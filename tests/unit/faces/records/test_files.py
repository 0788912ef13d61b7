"""The three files of a set in records: what is read of them, what is refused, what is written."""

import struct

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.records.files import RecordWriter, read_index


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


# Holds the magic at an aligned and at an odd place of the payload.
AWKWARD = b"\xff\xd8" + b"\x0a\x23\xd7\xce" * 3 + b"tail"
SET = [[b"\xff\xd8one", b"\xff\xd8two!"], [AWKWARD], [b"\xff\xd8" + bytes(range(256))]]


def write(folder, identities=SET):
    with RecordWriter(folder) as writer:
        for images in identities:
            writer.start_identity()
            for image in images:
                writer.add(image)


def test_what_was_written_is_read_back(tmp_path):
    write(tmp_path / "set")
    faces = open_dataset(tmp_path / "set")
    assert faces.labels.tolist() == [0, 0, 1, 2]
    assert [faces.image_bytes(index) for index in range(4)] == [image for one in SET for image in one]


def test_the_layout_is_the_classic_one(tmp_path):
    write(tmp_path / "set")
    offsets = dict(map(int, line.split("\t")) for line in (tmp_path / "set/train.idx").read_text().splitlines())
    data = (tmp_path / "set/train.rec").read_bytes()
    assert list(offsets) == [1, 2, 3, 4, 5, 6, 7, 0]  # images, identities, and key 0 last
    assert struct.unpack_from("<I4xI4xQQ2f", data, offsets[0])[4:] == (5.0, 8.0)
    spans = [struct.unpack_from("<2f", data, offsets[key] + 32) for key in (5, 6, 7)]
    assert spans == [(1, 3), (3, 4), (4, 5)]
    assert (tmp_path / "set/property").read_text() == "3,112,112\n"


def test_nothing_is_written_over(tmp_path):
    write(tmp_path)
    before = (tmp_path / "train.rec").read_bytes()
    with pytest.raises(InvalidInput, match=r"exists already: choose another folder"):
        write(tmp_path, [[b"other"]])
    assert (tmp_path / "train.rec").read_bytes() == before


def test_a_set_broken_off_leaves_no_file(tmp_path):
    def images():
        yield b"\xff\xd8"
        raise KeyError("no second image")

    with pytest.raises(KeyError):
        write(tmp_path, [images()])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no image to write"):
        write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
