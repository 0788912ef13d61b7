"""What an encoded image says of itself before it is decoded: its kind, its size, and what a decoder would do for it.

A decoder reserves what an image announces, and goes over it as often as it says. Both is known here at the cost of
microseconds, so that half a million images are looked at in a minute and none that lies is decoded.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
PNG_HEAD = PNG_START + b"\0\0\0\rIHDR"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG whose segments tell height and width."""
WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})
"""Markers without a segment; the first is none, and passed over."""
SCAN, END_OF_IMAGE = 0xDA, 0xD9
"""Markers of a pass over the pixels and of the end. Behind neither a frame begins."""
SEGMENTS = frozenset(range(0xC0, 0xFF)) - {0xD8, END_OF_IMAGE}
"""Markers with a length behind them."""
# Within the compressed data FF 00 is a byte and FF D0 to FF D7 restart them.
MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
MOST_BETWEEN = 1 << 16
"""Bytes between two segments that belong to none, as some cameras leave them; libjpeg passes over any number."""
MOST_SCANS = 100
"""Usual are 1 to 10. Each takes as long as the pixels are many, however few bytes it has."""
NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Chunks of a PNG that decide on its pixels. Without the others an animated one is its still image."""
OPTIONAL = 0x20
"""Bit of the first letter of a chunk that a decoder may pass over."""
CHUNK_ENDS = 12
"""Bytes of a PNG's chunk beside its data: length, type and check sum."""


class Segment(NamedTuple):
    """A marker of a JPEG with what belongs to it."""

    marker: int
    start: int
    """Where it begins."""
    content: int
    """Behind the marker itself."""
    stop: int
    """Behind its segment, which compressed data may follow."""


def stated_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width that a JPEG or PNG says it has; None where it is neither or does not say."""
    start = file.read(len(PNG_HEAD))
    if start == PNG_HEAD:
        sides = file.read(8)
        return (int.from_bytes(sides[4:]), int.from_bytes(sides[:4])) if len(sides) == 8 else None
    if not start.startswith(JPEG_START):
        return None
    file.seek(len(JPEG_START))
    for marker, length in _segments_before_pixels(file):
        if marker in FRAMES:
            frame = file.read(5)  # bits of a number, height, width
            return (int.from_bytes(frame[1:3]), int.from_bytes(frame[3:])) if len(frame) == 5 else None
        file.seek(length - 2, 1)
    return None


def plain_png(data: bytes) -> bytes | None:
    """A PNG with its size, colours and pixels alone; None where a chunk ends too early or is none that has a place.

    OpenCV 4.11 reads chunks itself before libpng does, and loses its place at some that libpng would refuse.
    """
    parts, place = [PNG_START], len(PNG_START)
    while place + CHUNK_ENDS <= len(data) and parts[-1][4:8] != b"IEND":
        kind = data[place + 4 : place + 8]
        stop = place + CHUNK_ENDS + int.from_bytes(data[place : place + 4])
        is_needed = kind in NEEDED and (kind == b"IHDR") == (len(parts) == 1)
        if stop > len(data) or not (is_needed or kind[0] & OPTIONAL):
            return None
        if is_needed:
            parts.append(data[place:stop])
        place = stop
    return b"".join(parts)


def has_many_scans(data: bytes) -> bool:
    """Whether a decoder would go over the pixels of a JPEG more than MOST_SCANS times."""
    if data.count(bytes([0xFF, SCAN])) <= MOST_SCANS:
        return False
    # Films and maps of depth behind the image hold these bytes, too.
    return sum(segment.marker == SCAN for segment in segments(data)) > MOST_SCANS


def segments(data: bytes) -> Iterator[Segment]:
    """All of a JPEG, in their order; what follows the end of the image is passed over."""
    place = len(JPEG_START)
    while found := MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        if marker in SEGMENTS:
            place += int.from_bytes(data[place : place + 2])
        yield Segment(marker, found.start(), found.end(), place)
        if marker == END_OF_IMAGE:
            return


def _segments_before_pixels(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Markers with the lengths of their segments, which begin two bytes before where the file is then."""
    while _find_marker(file):
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if not marker or marker[0] in {SCAN, END_OF_IMAGE}:
            return
        if marker[0] in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2))
        if length < 2:
            return
        yield marker[0], length


def _find_marker(file: BinaryIO) -> bool:
    """Go on to behind the next FF, if there is one near."""
    start = file.tell()
    between = file.read(1)
    if between == b"\xff":
        return True
    place = (between + file.read(MOST_BETWEEN)).find(b"\xff")
    file.seek(start + place + 1)
    return place >= 0
