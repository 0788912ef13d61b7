"""Training sets: RecordIO, its index, the layout of both, `property`."""

import re
import struct
from typing import Any

from arcface_faces.records import files, index, layout, recordio
from fuzz import scratch
from fuzz.mutation import mutate_bytes, mutate_text
from fuzz.target import Target
from support.builders.record_file import MAGIC, image, labelled, record

RECORD_BYTES = 1_000_000
PICTURES = (b"\xff\xd8\xff\xe0 one", b"\x89PNG\r\n\x1a\n two", b"three")


def targets() -> list[Target]:
    """Of training sets."""
    return [
        Target(name="recordio", samples=_records(), read=_unpacked, agrees=_is_that_record),
        Target(name="index", samples=_INDICES, read=_read_index, agrees=_is_that_index, mutate=mutate_text),
        Target(name="record-set", samples=_sets(), read=_find_images, agrees=_are_those_images, mutate=mutate_bytes),
        Target(name="property", samples=_PROPERTIES, read=_read_property, agrees=_is_that_property, mutate=mutate_text),
    ]


def _records() -> list[bytes]:
    parts = struct.pack("<II", 0xCED7230A, 1 << 29 | 24) + struct.pack("<IfQQ", 0, 3.0, 5, 0)
    parts += (
        struct.pack("<II", 0xCED7230A, 2 << 29 | 4) + b"abcd" + struct.pack("<II", 0xCED7230A, 3 << 29 | 3) + b"xyz\0"
    )
    return [
        record(image(7.0, 1, PICTURES[0])),
        record(labelled((1.0, 2.0), b"two labels")),
        record(labelled((5.0, 9.0))),
        parts,
    ]


def _unpacked(data: bytes) -> tuple[recordio.ImageHeader, bytes]:
    return recordio.unpack(recordio.unpack_record(data))


def _slow_record(data: bytes) -> bytes:
    """As dmlc-core reads it: part by part, the magic between them."""
    payload, place = b"", 0
    while True:
        magic, word = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        length, kind = word % 2**29, word // 2**29
        assert magic == MAGIC
        assert len(data) >= place + 8 + length
        payload += data[place + 8 : place + 8 + length]
        if kind in {0, 3}:
            return payload
        payload += MAGIC
        place += 8 + (length + 3) // 4 * 4


def _slow_image(data: bytes) -> tuple[int, bytes, bytes]:
    """Flag, the bytes of the labels, the image."""
    payload = _slow_record(data)
    flag = int.from_bytes(payload[:4], "little")
    labels = payload[24 : 24 + 4 * flag] if flag else payload[4:8]
    return flag, labels, payload[24 + 4 * flag :]


def _is_that_record(data: bytes, value: tuple[recordio.ImageHeader, bytes]) -> bool:
    header, picture = value
    flag, labels, found = _slow_image(data)
    told = struct.pack(f"<{len(header.labels)}f", *header.labels)
    # A NaN may lose its payload on the way, and nothing else.
    same = all(a == b or a[2:] > b"\x80\x7f" for a, b in zip(_words(told), _words(labels), strict=True))
    return (header.flag, picture) == (flag, found) and same


def _words(data: bytes) -> list[bytes]:
    return [data[place : place + 4] for place in range(0, len(data), 4)]


_INDICES = [b"0\t0\n1\t48\n2\t96\n", b"5\t100\r\n3\t4\r\n", b"1 0\n2 999999\n\n"]


def _read_index(data: bytes) -> index.Index:
    return index.read_index(scratch.write("train.idx", data), RECORD_BYTES)


def _is_that_index(data: bytes, value: index.Index) -> bool:
    rows = [line.split() for line in data.rstrip().split(b"\n")]
    assert all(len(row) == 2 and re.fullmatch(rb"[0-9]+", row[0]) and re.fullmatch(rb"[0-9]+", row[1]) for row in rows)
    keys, offsets = [int(key) for key, _ in rows], [int(offset) for _, offset in rows]
    is_sound = len(set(keys)) == len(keys) and len(set(offsets)) == len(offsets) and max(offsets) < RECORD_BYTES
    return is_sound and (value.keys.tolist(), value.offsets.tolist()) == (keys, offsets)


def _sets() -> list[bytes]:
    """The classic layout, that without identity records, and that of other tools."""
    pictures = [record(image(float(number // 2), number, PICTURES[number % 3])) for number in range(4)]
    header = record(labelled((5.0, 7.0)))
    identities = [record(labelled((1.0, 3.0))), record(labelled((3.0, 5.0)))]
    plain = [record(labelled((5.0, 2.0))), *pictures]
    return [_joined([header, *pictures, *identities], b"2,112,112\n"), _joined(plain, b"2,112,112"), _joined(pictures)]


def _joined(records: list[bytes], announced: bytes | None = None) -> bytes:
    """Index before the records, which are the longest."""
    offsets = [sum(map(len, records[:number])) for number in range(len(records))]
    lines = b"".join(b"%d\t%d\n" % row for row in enumerate(offsets))
    return scratch.BETWEEN.join([lines, b"".join(records), *([] if announced is None else [announced])])


def _find_images(data: bytes) -> layout.RecordImages:
    scratch.write_parts(data, (files.INDEX_FILE, files.RECORDS_FILE, files.PROPERTY_FILE))
    return layout.find_images(scratch.folder())


def _are_those_images(data: bytes, value: layout.RecordImages) -> bool:
    """Every image is one that its record holds, under its key, of the person that it says where it says one."""
    lines, records = data.split(scratch.BETWEEN)[:2]
    listed = {int(offset): int(key) for key, offset in (line.split() for line in lines.rstrip().split(b"\n"))}
    for key, offset, span, person in zip(value.keys, value.offsets, value.spans, value.identities, strict=True):
        flag, labels, found = _slow_image(records[offset : offset + span])
        is_of_person = flag == 0 and struct.unpack("<f", labels)[0] == person
        # Where identity records say whose they are, those of the sampled images alone are looked at.
        if listed[int(offset)] != int(key) or not found or not (is_of_person or flag or _has_identities(records)):
            return False
    return len(value.keys) > 0 and len(set(value.keys.tolist())) == len(value.keys)


def _has_identities(records: bytes) -> bool:
    return records.startswith(record(labelled((5.0, 7.0)))[:8])


_PROPERTIES = [b"85742,112,112\n", b"2,112,112", b" 10 , 112 , 112\r\nmore"]


def _read_property(data: bytes) -> Any:
    return files.read_property(scratch.write("property", data))


def _is_that_property(data: bytes, value: files.Property) -> bool:
    fields = re.split(rb"[\n\r\x0b\x0c\x1c-\x1e]", data, maxsplit=1)[0].split(b",")
    return [value.identities, value.height, value.width] == [int(field) for field in fields] and value.height == 112
