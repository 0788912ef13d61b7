"""Keeps the arrays of a scanned `.rec` on disk, so that millions of records open in a second the next time.

The cache is a plain `.npz` without pickled objects. It says which files it was made from (sizes and times); another
or a damaged cache is scanned anew, and a place that cannot be written is done without.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_faces.records.table import RecordTable, scan_records

LOG = logging.getLogger(__name__)
FORMAT = 2
"""Raised where tables of older versions may hold what is refused now."""
WRITE_BITS = 0o222
DAMAGE = (ValueError, KeyError, EOFError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile)
"""What NumPy and zipfile answer to files that are no table; flipped bits can also mean "encrypted" or a vast shape."""


def load_records(records: Path, index: Path) -> RecordTable:
    """Table of the records, from the cache where it is current; InvalidInput as from `scan_records`."""
    made_from = _fingerprint_of(records, index)
    for place in _places(records):
        if (table := _read(place, made_from)) is not None:
            return table
    LOG.info("reading the heads of all records file=%s bytes=%d", records, int(made_from[1]))
    table = scan_records(records, index)
    for place in _places(records):
        if _write(place, made_from, table):
            break
    return table


def _fingerprint_of(records: Path, index: Path) -> NDArray[np.int64]:
    """Format, sizes and times; zeros stand for files out of reach, which the scan then reports."""
    return np.array([FORMAT, *_size_and_time(records), *_size_and_time(index)], np.int64)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _places(records: Path) -> list[Path]:
    """Beside the data, then in the user's cache folder under a name made of the absolute path."""
    beside = records.with_suffix(".arcface-index.npz")
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # a user without a home, as containers have
        return [beside]
    name = hashlib.sha256(os.fsencode(records.resolve())).hexdigest()[:32]
    return [beside, caches / "arcface" / f"{name}.npz"]


def _read(place: Path, made_from: NDArray[np.int64]) -> RecordTable | None:
    names = [field.name for field in fields(RecordTable)]
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if not np.array_equal(stored["made_from"], made_from):
                return None
            table = RecordTable(*(stored[name] for name in names))
    except FileNotFoundError:
        return None
    except OSError as error:  # which says nothing about what the file holds
        LOG.info("index cache is not readable file=%s reason=%s", place, error)
        return None
    except DAMAGE as error:
        LOG.warning("index cache is damaged and made anew file=%s reason=%s", place, error)
        return None
    return table if _has_right_shape(table) else None


def _has_right_shape(table: RecordTable) -> bool:
    size = len(table)
    columns = [table.keys, table.offsets, table.extents, table.image_sizes, table.flags]
    return (
        all(column.dtype == np.int64 and column.shape == (size,) for column in columns)
        and table.labels.dtype == np.float32
        and table.labels.shape == (size, 2)
    )


def _write(place: Path, made_from: NDArray[np.int64], table: RecordTable) -> bool:
    """Publish by rename, so that ranks that start together never see half a file."""
    arrays = {field.name: getattr(table, field.name) for field in fields(RecordTable)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # A folder without any write bit is meant to stay as it is, also for root.
        if not place.parent.stat().st_mode & WRITE_BITS:
            return False
        partial = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
        try:
            # Opened plainly and not as a temporary file, which nobody else may read: the umask decides.
            with partial.open("xb") as file:
                np.savez(file, made_from=made_from, **arrays)
            partial.replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    except OSError as error:
        LOG.info("index is not cached file=%s reason=%s", place, error)
        return False
    return True
