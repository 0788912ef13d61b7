"""Writes small record files whose bytes the test decides."""

import struct
from collections.abc import Mapping
from pathlib import Path

MAGIC = bytes.fromhex("0a23d7ce")


def record(payload: bytes) -> bytes:
    """A record in one part; the payload must not hold the magic at an aligned offset."""
    return MAGIC + struct.pack("<I", len(payload)) + payload + bytes(-len(payload) % 4)


def image(label: float, identifier: int, image: bytes) -> bytes:
    """Payload of an image with a scalar label."""
    return struct.pack("<IfQQ", 0, label, identifier, 0) + image


def labelled(labels: tuple[float, ...], image: bytes = b"") -> bytes:
    """Payload with labels behind the header."""
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0.0, 0, 0, *labels) + image


def write_records(folder: Path, records: Mapping[int, bytes]) -> tuple[Path, Path]:
    """Records by key, in the order of the mapping, and their index; returns both paths."""
    data, lines = b"", ""
    for key, whole in records.items():
        lines += f"{key}\t{len(data)}\n"
        data += whole
    paths = folder / "train.rec", folder / "train.idx"
    paths[0].write_bytes(data)
    paths[1].write_text(lines)
    return paths
