"""DMLC RecordIO and its image header: the bytes of `train.rec`.

A record is `magic u32 | part u32 | data | zeros up to a multiple of 4`, little-endian. The upper 3 bits of `part`
say whole (0), first (1), middle (2) or last (3), the lower 29 the length. Where the data hold the magic at an aligned
offset the writer drops these 4 bytes and starts a new part; the reader puts them back. (dmlc-core `recordio.h`)

An image's data are `flag u32 | label f32 | id u64 | id2 u64`, then `flag` float32 labels that replace the scalar,
then the encoded image. (`recordio.py` of MXNet)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from arcface_api.errors import InvalidInput
from arcface_faces.positioned_file import PositionedFile

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
LENGTH_BITS = 29
LONGEST_PART = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)
PART_HEAD = struct.Struct("<II")
IMAGE_HEAD = struct.Struct("<IfQQ")
PLAIN_HEAD = struct.Struct("<IIIfQQ")
"""Both heads of a record in one part whose image has one label, as nearly all are."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What precedes an image; `flag` 0 keeps the one label inside the header, `flag` n puts n labels behind it."""

    flag: int
    labels: tuple[float, ...]
    identifier: int
    second_identifier: int = 0


def pack(header: ImageHeader, image: bytes) -> bytes:
    """Payload of an image record."""
    if len(header.labels) != max(header.flag, 1):
        raise ValueError(f"flag {header.flag} with {len(header.labels)} labels")
    label = header.labels[0] if header.flag == 0 else 0.0
    head = IMAGE_HEAD.pack(header.flag, label, header.identifier, header.second_identifier)
    return head + struct.pack(f"<{header.flag}f", *header.labels[: header.flag]) + image


def unpack(payload: bytes) -> tuple[ImageHeader, bytes]:
    """Header and encoded image of an image record; InvalidInput where the payload is too short for its flag."""
    if len(payload) < IMAGE_HEAD.size:
        raise InvalidInput(f"{len(payload)} bytes are too few for an image header ({IMAGE_HEAD.size})")
    flag, label, identifier, second_identifier = IMAGE_HEAD.unpack_from(payload)
    image_at = IMAGE_HEAD.size + 4 * flag
    if len(payload) < image_at:
        raise InvalidInput(f"{len(payload)} bytes are too few for an image header with {flag} labels")
    labels = struct.unpack_from(f"<{flag}f", payload, IMAGE_HEAD.size) if flag else (label,)
    return ImageHeader(flag, labels, identifier, second_identifier), payload[image_at:]


def pack_record(payload: bytes) -> bytes:
    """One record, the magic inside the payload escaped."""
    pieces = list(_split_at_magic(payload))
    last = len(pieces) - 1
    parts = []
    for number, piece in enumerate(pieces):
        if len(piece) > LONGEST_PART:
            raise InvalidInput(f"a record of {len(piece)} bytes is longer than RecordIO can hold ({LONGEST_PART})")
        kind = WHOLE if last == 0 else FIRST if number == 0 else LAST if number == last else MIDDLE
        parts.append(PART_HEAD.pack(MAGIC, kind << LENGTH_BITS | len(piece)) + piece)
    return b"".join(parts) + bytes(-len(pieces[-1]) % 4)


def _split_at_magic(payload: bytes) -> Iterator[bytes]:
    start = search = 0
    while (found := payload.find(MAGIC_BYTES, search)) >= 0:
        if found % 4:
            search = found + 1
            continue
        yield payload[start:found]
        start = search = found + 4
    yield payload[start:]


def unpack_record(data: bytes) -> bytes:
    """Payload of the one record that `data` start with; InvalidInput where they are not a whole record."""
    pieces: list[bytes] = []
    position = 0
    while True:
        if len(data) < position + PART_HEAD.size:
            raise InvalidInput("the record is cut short")
        kind, length = _part_head(data, position, is_first=not pieces)
        position += PART_HEAD.size
        if len(data) < position + length:
            raise InvalidInput("the record is cut short")
        pieces.append(data[position : position + length])
        if kind in {WHOLE, LAST}:
            return MAGIC_BYTES.join(pieces)
        position += length + -length % 4


def _part_head(data: bytes, position: int, *, is_first: bool) -> tuple[int, int]:
    """Kind and length of the part whose 8-byte head is at `position`; InvalidInput where no such part may be."""
    magic, part = PART_HEAD.unpack_from(data, position)
    kind = part >> LENGTH_BITS
    if magic != MAGIC:
        raise InvalidInput(f"no record starts there (found {magic:#010x}, not the magic {MAGIC:#010x})")
    if kind not in ({WHOLE, FIRST} if is_first else {MIDDLE, LAST}):
        raise InvalidInput(f"part kind {kind} is out of place there")
    return kind, part & LONGEST_PART


class RecordFile(PositionedFile):
    """The records of a `.rec`."""

    suffix = ".rec"

    def extent(self, offset: int) -> int:
        """Bytes from `offset` to the end of the record there, without padding after the last part."""
        position = offset
        while True:
            head = self.bytes_at(position, PART_HEAD.size)
            if len(head) < PART_HEAD.size:
                raise InvalidInput(f"{self.path}: ends inside the record at byte {offset}: copy the file again")
            kind, length = self._checked_head(head, offset, is_first=position == offset)
            position += PART_HEAD.size + length
            if position > self.size:
                raise InvalidInput(f"{self.path}: ends inside the record at byte {offset}: copy the file again")
            if kind in {WHOLE, LAST}:
                return position - offset
            position += -length % 4

    def _checked_head(self, head: bytes, offset: int, *, is_first: bool) -> tuple[int, int]:
        try:
            return _part_head(head, 0, is_first=is_first)
        except InvalidInput as error:
            raise InvalidInput(f"{self.path}: record at byte {offset}: {error}") from error

    def read(self, offset: int, extent: int) -> tuple[ImageHeader, bytes]:
        """Header and encoded image of the record of `extent` bytes at `offset`."""
        return self._unpacked(self.bytes_at(offset, extent), offset)

    def labelled_image(self, offset: int, extent: int) -> tuple[float, bytes]:
        """First label and encoded image of the record of `extent` bytes, or with padding more, at `offset`.

        What a training does with each image: the plain form of a record is read without a value for each of its parts.
        """
        data = self.bytes_at(offset, extent)
        if len(data) >= PLAIN_HEAD.size:
            magic, length, flag, label, _, _ = PLAIN_HEAD.unpack_from(data)
            stop = PART_HEAD.size + length
            if magic == MAGIC and length <= LONGEST_PART and flag == 0 and PLAIN_HEAD.size <= stop <= len(data):
                return float(label), data[PLAIN_HEAD.size : stop]
        header, image = self._unpacked(data, offset)
        return header.labels[0], image

    def _unpacked(self, data: bytes, offset: int) -> tuple[ImageHeader, bytes]:
        try:
            return unpack(unpack_record(data))
        except InvalidInput as error:
            raise InvalidInput(f"{self.path}: record at byte {offset}: {error}") from error
