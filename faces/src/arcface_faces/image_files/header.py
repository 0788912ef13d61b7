"""What the first bytes of an image say of its kind and size: enough to look at half a million of them in a minute."""

from collections.abc import Iterator
from typing import BinaryIO

from arcface_faces.images import JPEG_START, PNG_START

PNG_HEAD = PNG_START + b"\0\0\0\rIHDR"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG whose segments tell height and width."""
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
LAST = frozenset({0xD9, 0xDA})
"""Markers behind which no frame begins: the end, and the pixels of one that was none."""


def stated_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width that a JPEG or PNG says it has; None where it is neither or does not say."""
    start = file.read(len(PNG_HEAD))
    if start == PNG_HEAD:
        sides = file.read(8)
        return (int.from_bytes(sides[4:]), int.from_bytes(sides[:4])) if len(sides) == 8 else None
    if not start.startswith(JPEG_START):
        return None
    file.seek(len(JPEG_START))
    for marker, length in _segments(file):
        if marker in FRAMES:
            frame = file.read(5)  # bits of a number, height, width
            return (int.from_bytes(frame[1:3]), int.from_bytes(frame[3:])) if len(frame) == 5 else None
        file.seek(length - 2, 1)
    return None


def _segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Markers with the lengths of their segments, which begin two bytes before where the file is then."""
    while file.read(1) == b"\xff":
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if not marker or marker[0] in LAST:
            return
        if marker[0] in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2))
        if length < 2:
            return
        yield marker[0], length
