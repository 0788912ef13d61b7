import struct

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.records import table as record_table
from arcface_faces.records.index import read_index
from arcface_faces.records.recordio import RecordFile, pack_record
from arcface_faces.records.table import read_heads
from support.builders.record_file import MAGIC, image, labelled, record, write_records

CLASSIC = {
    1: record(image(0, 1, b"one")),
    2: record(image(0, 2, b"payload")),
    3: record(labelled((1.0, 9.0, 8.0), b"three!")),
    4: record(labelled((1.0, 3.0))),
    5: record(labelled((3.0, 4.0))),
    0: record(labelled((4.0, 6.0))),
}
"""Two identities; key 0 and the identities' records behind the images, key 0 last."""


def scan_records(records, index):
    file = RecordFile(records)
    lines = read_index(index, file.size)
    return read_heads(file, lines, np.arange(len(lines.keys)))


def test_heads_of_the_classic_layout_are_read_in_the_order_of_keys(tmp_path):
    table = scan_records(*write_records(tmp_path, CLASSIC))
    assert table.keys.tolist() == [0, 1, 2, 3, 4, 5]
    assert table.flags.tolist() == [2, 0, 0, 3, 2, 2]
    assert table.image_sizes.tolist() == [0, 3, 7, 6, 0, 0]
    np.testing.assert_array_equal(table.labels[:, 0], [4, 0, 0, 1, 1, 3])
    np.testing.assert_array_equal(table.labels[:, 1], [6, np.nan, np.nan, 9, 3, 4])


def test_every_row_leads_to_its_image(tmp_path):
    records, index = write_records(tmp_path, CLASSIC)
    table, file = scan_records(records, index), RecordFile(records)
    images = [file.read(int(at), int(extent))[1] for at, extent in zip(table.offsets, table.extents, strict=True)]
    assert images == [b"", b"one", b"payload", b"three!", b"", b""]


def test_a_flag_of_one_label_takes_it_from_behind_the_header(tmp_path):
    table = scan_records(*write_records(tmp_path, {1: record(labelled((7.0,), b"p"))}))
    np.testing.assert_array_equal(table.labels, [[7, np.nan]])
    assert table.image_sizes.tolist() == [1]


def test_records_in_parts_are_read_with_the_magic_put_back(tmp_path):
    hidden = struct.pack("<IfQQ", 2, 0.0, int.from_bytes(MAGIC * 2, "little"), 0) + struct.pack("<2f", 5, 6) + b"pic"
    payloads = {1: image(2, 1, b"abcdefgh" + MAGIC + b"tail"), 2: hidden, 3: image(3, 3, b"x")}
    records, index = write_records(tmp_path, {key: pack_record(payload) for key, payload in payloads.items()})
    table, file = scan_records(records, index), RecordFile(records)
    assert table.flags.tolist() == [0, 2, 0]
    np.testing.assert_array_equal(table.labels, [[2, np.nan], [5, 6], [3, np.nan]])
    assert table.image_sizes.tolist() == [16, 3, 1]
    assert file.read(int(table.offsets[0]), int(table.extents[0]))[1] == b"abcdefgh" + MAGIC + b"tail"


def test_keys_beyond_what_float32_counts_stay_apart(tmp_path):
    keys = [2**24 + 1, 2**24, 2**24 + 2]
    table = scan_records(*write_records(tmp_path, {key: record(image(0, key, b"p")) for key in keys}))
    assert table.keys.tolist() == sorted(keys)
    assert table.offsets.tolist() == [36, 0, 72]


def test_the_table_does_not_depend_on_the_size_of_the_blocks(tmp_path, monkeypatch):
    records, index = write_records(tmp_path, CLASSIC)
    whole = scan_records(records, index)
    for block in (1, 36, 40, 100):
        monkeypatch.setattr(record_table, "BLOCK", block)
        table = scan_records(records, index)
        for field in ("keys", "offsets", "extents", "image_sizes", "flags", "labels"):
            np.testing.assert_array_equal(getattr(table, field), getattr(whole, field))


@pytest.mark.parametrize(
    "last",
    [record(image(0, 2, b"payload")), pack_record(image(0, 2, b"abcdefgh" + MAGIC + b"x"))],
    ids=["whole", "parts"],
)
def test_a_file_cut_short_anywhere_is_refused(tmp_path, last):
    first = record(image(0, 1, b"one!"))
    records, index = write_records(tmp_path, {1: first, 2: last})
    whole = first + last
    padding = -(len(image(0, 2, b"")) + 7) % 4 if b"payload" in last else 3
    for size in range(len(whole) - padding):
        records.write_bytes(whole[:size])
        with pytest.raises(InvalidInput) as refusal:
            scan_records(records, index)
        assert "\n" not in str(refusal.value)
    records.write_bytes(whole[: len(whole) - padding])
    assert len(scan_records(records, index)) == 2


def test_a_file_cut_short_is_told_with_the_key_and_both_ends(tmp_path):
    records, index = write_records(tmp_path, CLASSIC)
    records.write_bytes(records.read_bytes()[:-3])
    size = records.stat().st_size
    with pytest.raises(
        InvalidInput, match=rf"train\.rec: ends at byte {size} inside the record of key 0, .* {size + 3}:"
    ):
        scan_records(records, index)


def test_an_offset_that_is_no_start_is_told_with_its_line(tmp_path):
    records, index = write_records(tmp_path, CLASSIC)
    lines = index.read_text().splitlines()
    lines[2] = "3\t4"
    index.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match=r"train\.idx:3: no record starts at offset 4"):
        scan_records(records, index)


def test_the_first_line_of_several_wrong_ones_is_told(tmp_path):
    records, index = write_records(tmp_path, CLASSIC)
    index.write_text("1\t0\n2\t8\n3\t4\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:2: "):
        scan_records(records, index)


def test_the_inside_of_a_record_in_parts_is_no_start(tmp_path):
    packed = pack_record(image(0, 1, b"abcdefgh" + MAGIC + b"x"))
    records, index = write_records(tmp_path, {1: packed})
    index.write_text(f"1\t{packed.index(MAGIC, 1)}\n")
    with pytest.raises(InvalidInput, match=r"train\.idx:1: no record starts at offset"):
        scan_records(records, index)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(image(0, 1, b"")[:-1], id="half a header"),
        pytest.param(struct.pack("<IfQQ", 2, 0, 0, 0) + b"1234567", id="half a label"),
        pytest.param(struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0) + bytes(64), id="labels without end"),
    ],
)
def test_a_record_too_short_for_its_header_is_told_with_its_key(tmp_path, payload):
    paths = write_records(tmp_path, {1: record(image(0, 1, b"p")), 7: record(payload), 9: record(image(0, 9, b"p"))})
    with pytest.raises(InvalidInput, match=r"train\.rec: the record of key 7 is too short for an image header"):
        scan_records(*paths)
