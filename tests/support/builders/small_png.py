"""An image made with the standard library, for tests that run without NumPy and OpenCV."""

import pickle
import struct
import zlib
from pathlib import Path

SIDE = 112


def small_png() -> bytes:
    """A red square of the size that networks take."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff\0\0" * SIDE) * SIDE)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_small_set(path: Path, pairs: int = 10) -> Path:
    """A verification set of this image."""
    path.write_bytes(pickle.dumps(([small_png()] * (2 * pairs), [pair % 2 == 0 for pair in range(pairs)]), 4))
    return path
