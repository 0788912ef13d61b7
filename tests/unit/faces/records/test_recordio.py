import os
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_faces.records.recordio import ImageHeader, RecordFile, pack, pack_record, unpack, unpack_record
from support.builders.record_file import MAGIC, image, labelled, record

IMAGE = bytes(range(1, 8))
NO_BYTES = Path("/proc/self/mem")
"""Nothing is mapped at its first byte, so that reading there is an error."""


def by_the_words(payload):
    """The format read off its description, four bytes at a time: a word equal to the magic ends a part."""
    words = [payload[at : at + 4] for at in range(0, len(payload), 4)]
    parts, current = [], b""
    for word in words:
        if word == MAGIC:
            parts.append(current)
            current = b""
        else:
            current += word
    parts.append(current)
    kinds = [0] if len(parts) == 1 else [1] + [2] * (len(parts) - 2) + [3]
    return b"".join(
        MAGIC + struct.pack("<I", kind << 29 | len(part)) + part + bytes(-len(part) % 4)
        for kind, part in zip(kinds, parts, strict=True)
    )


def test_a_record_is_magic_length_data_and_padding():
    assert pack_record(b"hello") == bytes.fromhex("0a23d7ce 05000000 68656c6c6f 000000")
    assert pack_record(b"") == bytes.fromhex("0a23d7ce 00000000")


def test_an_image_is_flag_label_two_ids_and_the_image():
    packed = pack(ImageHeader(0, (3.0,), 5), bytes.fromhex("ffd8"))
    assert packed == bytes.fromhex("00000000 00004040 0500000000000000 0000000000000000 ffd8")


def test_labels_behind_the_header_replace_the_scalar():
    packed = pack(ImageHeader(2, (7.0, 9.0), 0, 1), b"")
    assert packed == bytes.fromhex("02000000 00000000 0000000000000000 0100000000000000 0000e040 00001041")
    assert unpack(packed) == (ImageHeader(2, (7.0, 9.0), 0, 1), b"")


def test_labels_that_do_not_fit_the_flag_are_not_packed():
    with pytest.raises(ValueError, match="flag 2 with 1 labels"):
        pack(ImageHeader(2, (1.0,), 0), b"")


@pytest.mark.parametrize("at", range(13))
def test_the_magic_is_escaped_at_aligned_offsets_only(at):
    payload = b"x" * at + MAGIC + b"tail"
    parts = pack_record(payload).count(MAGIC)
    assert parts == 2
    assert unpack_record(pack_record(payload)) == payload
    assert pack_record(payload) == by_the_words(payload)


@pytest.mark.parametrize("times", range(1, 5))
def test_several_magics_make_first_middle_and_last_parts(times):
    packed = pack_record(MAGIC * times)
    kinds = [struct.unpack_from("<I", packed, 4 + 8 * part)[0] >> 29 for part in range(times + 1)]
    assert kinds == [1] + [2] * (times - 1) + [3]
    assert unpack_record(packed) == MAGIC * times


@settings(max_examples=200)
@given(st.lists(st.sampled_from([MAGIC, MAGIC[:2], MAGIC[1:], b"x", b"\0\0"]), max_size=12).map(b"".join))
def test_any_payload_survives_and_is_written_as_the_description_says(payload):
    packed = pack_record(payload)
    assert packed == by_the_words(payload)
    assert len(packed) % 4 == 0
    assert unpack_record(packed) == payload


@pytest.mark.parametrize(
    "payload", [b"hello", b"abcd" + MAGIC + b"efg", MAGIC * 2], ids=["whole", "two parts", "three"]
)
def test_a_record_cut_short_anywhere_is_refused(payload):
    packed = pack_record(payload)
    needed = len(packed) - -len(payload) % 4
    assert unpack_record(packed[:needed]) == payload
    for size in range(needed):
        with pytest.raises(InvalidInput):
            unpack_record(packed[:size])


@pytest.mark.parametrize("flag", [0, 1, 3])
def test_an_image_header_cut_short_anywhere_is_refused(flag):
    packed = pack(ImageHeader(flag, (1.0,) * max(flag, 1), 4), b"")
    assert unpack(packed)[1] == b""
    for size in range(len(packed)):
        with pytest.raises(InvalidInput, match="too few for an image header"):
            unpack(packed[:size])


def test_a_flag_that_asks_for_more_labels_than_there_are_bytes_is_refused():
    with pytest.raises(InvalidInput, match="4294967295 labels"):
        unpack(struct.pack("<IfQQ", 2**32 - 1, 0.0, 0, 0) + IMAGE)


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        pytest.param(b"\0" * 16, "no record starts there", id="no magic"),
        pytest.param(MAGIC + struct.pack("<I", 2 << 29), "part kind 2 is out of place", id="middle first"),
        pytest.param(MAGIC + struct.pack("<I", 3 << 29), "part kind 3 is out of place", id="last first"),
        pytest.param(MAGIC + struct.pack("<I", 7 << 29), "part kind 7 is out of place", id="unknown kind"),
        pytest.param(
            MAGIC + struct.pack("<I", 1 << 29) + record(b""), "part kind 0 is out of place", id="whole inside"
        ),
        pytest.param(MAGIC + struct.pack("<I", 1 << 29) + b"\0" * 8, "no record starts there", id="first without last"),
    ],
)
def test_parts_out_of_place_are_refused(packed, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        unpack_record(packed)


@pytest.fixture
def stored(tmp_path):
    """Writes bytes as a record file and opens it."""

    def store(data):
        path = tmp_path / "train.rec"
        path.write_bytes(data)
        return RecordFile(path)

    return store


def test_images_are_read_at_their_offset(stored):
    first, second = record(image(3, 5, IMAGE)), pack_record(labelled((1.0, 2.0), b"abcd" + MAGIC + b"!"))
    file = stored(first + second)
    assert file.read(0, file.extent(0)) == (ImageHeader(0, (3.0,), 5), IMAGE)
    assert file.extent(len(first)) == len(second) - 3
    assert file.read(len(first), file.extent(len(first))) == (ImageHeader(2, (1.0, 2.0), 0), b"abcd" + MAGIC + b"!")


def test_a_header_that_holds_the_magic_is_read(stored):
    identifier = int.from_bytes(MAGIC + MAGIC, "little")
    file = stored(pack_record(pack(ImageHeader(0, (1.0,), identifier), IMAGE)))
    assert file.read(0, file.extent(0)) == (ImageHeader(0, (1.0,), identifier), IMAGE)


PAYLOADS = {
    "plain": (image(3, 1, IMAGE), 3.0, IMAGE),
    "two labels": (labelled((2.0, 5.0), IMAGE), 2.0, IMAGE),
    "no image": (image(1, 1, b""), 1.0, b""),
    "in parts": (image(4, 1, b"abcd" + MAGIC + b"x"), 4.0, b"abcd" + MAGIC + b"x"),
    "header in parts": (struct.pack("<If", 0, 6.0) + MAGIC * 4 + IMAGE, 6.0, IMAGE),
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("more", [0, 5], ids=["alone", "with more behind it"])
def test_an_image_and_its_label_are_read_whatever_the_form_of_the_record(stored, name, more):
    payload, label, encoded = PAYLOADS[name]
    packed = b"12345678" + by_the_words(payload) + b"\xff" * more
    assert stored(packed).labelled_image(8, len(packed) - 8) == (label, encoded)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_record_that_is_cut_short_gives_no_image(stored, name):
    payload = PAYLOADS[name][0]
    packed = by_the_words(payload)
    for size in range(len(packed) - -len(payload) % 4):
        with pytest.raises(InvalidInput, match=r"train\.rec: record at byte 0: "):
            stored(packed[:size]).labelled_image(0, len(packed))


@pytest.mark.parametrize("byte", range(12))
def test_damage_to_the_head_of_a_record_is_told_as_that_of_any(stored, byte):
    """Magic, kind, length and flag: what they say is checked or leads to other bytes, never to none at all."""
    for value in (0x00, 0x01, 0x20, 0x40, 0x7F, 0xFF):
        packed = bytearray(by_the_words(image(3, 1, IMAGE)))
        packed[byte] = value
        file = stored(bytes(packed))
        assert what_comes_of(file.labelled_image, len(packed)) == what_comes_of(partial(slowly, file), len(packed))


def slowly(file, offset, extent):
    header, encoded = file.read(offset, extent)
    return header.labels[0], encoded


def what_comes_of(read, extent):
    try:
        return read(0, extent)
    except InvalidInput as error:
        return str(error)


@pytest.mark.parametrize(
    "payload", [image(0, 1, IMAGE), image(0, 1, b"abcdefgh" + MAGIC + b"x")], ids=["whole", "parts"]
)
def test_a_file_cut_short_anywhere_is_named(stored, payload):
    packed = pack_record(payload)
    for size in range(len(packed) - -len(payload) % 4):
        with pytest.raises(InvalidInput, match=r"train\.rec: ends inside the record at byte 0"):
            stored(packed[:size]).extent(0)


def test_a_wrong_offset_is_named(stored):
    file = stored(record(image(0, 1, IMAGE)))
    with pytest.raises(InvalidInput, match=r"train\.rec: record at byte 4: no record starts there"):
        file.extent(4)
    with pytest.raises(InvalidInput, match=r"train\.rec: record at byte 4: "):
        file.read(4, 12)


def test_a_record_too_short_for_an_image_is_named(stored):
    file = stored(record(b"short"))
    with pytest.raises(InvalidInput, match=r"train\.rec: record at byte 0: 5 bytes are too few for an image header"):
        file.read(0, 13)


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"missing\.rec: cannot be opened \(No such file or directory\)"):
        RecordFile(tmp_path / "missing.rec")
    with pytest.raises(InvalidInput, match="is not a file"):
        RecordFile(tmp_path)
    os.mkfifo(tmp_path / "pipe.rec")
    with pytest.raises(InvalidInput, match="is not a file"):
        RecordFile(tmp_path / "pipe.rec")


def test_a_disk_that_gives_no_bytes_is_worth_another_try():
    with pytest.raises(ArcFaceError, match=r"/proc/self/mem: cannot be read at byte 0 \(Input/output error\)") as told:
        RecordFile(NO_BYTES).bytes_at(0, 8)
    assert told.value.exit_code == ExitCode.FAILED


def test_an_opened_file_can_be_pickled_and_shared_between_threads(stored):
    packed = [record(image(number, number, bytes([number]) * number)) for number in range(64)]
    offsets = [sum(map(len, packed[:number])) for number in range(64)]
    file = pickle.loads(pickle.dumps(stored(b"".join(packed))))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda offset: file.read(offset, file.extent(offset)), offsets * 8))
    assert found == [(ImageHeader(0, (float(n),), n), bytes([n]) * n) for n in range(64)] * 8
