"""Writes `train.rec`, `train.idx` and `property` in the classic layout (see `record_faces`).

The files grow under other names and get theirs at the end, `train.rec` last: a folder with it is whole.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from arcface_api.errors import InvalidInput, explained
from arcface_faces.images.face_input import IMAGE_SIZE
from arcface_faces.records.layout import EXACT_FLOAT32, INDEX_FILE, PROPERTY_FILE, RECORDS_FILE, refuse_existing
from arcface_faces.records.recordio import ImageHeader, pack, pack_record

NAMES = (INDEX_FILE, PROPERTY_FILE, RECORDS_FILE)
"""In the order in which they appear."""
PARTIAL = ".partial"


class RecordWriter:
    """Takes images identity by identity; use as a context manager, leaving it publishes the set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._position = 0

    def __enter__(self) -> Self:
        refuse_existing(self.directory, NAMES)
        with explained(self.directory, "cannot be written", "choose another folder"):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._partial(RECORDS_FILE).open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            for name in NAMES:
                self._partial(name).unlink(missing_ok=True)

    @property
    def image_count(self) -> int:
        """Images written so far."""
        return len(self._offsets)

    def start_identity(self) -> None:
        """The following images belong to the next identity."""
        self._starts.append(self.image_count + 1)

    def add(self, image: bytes) -> None:
        """Append an encoded image of the current identity."""
        label = len(self._starts) - 1
        self._offsets.append(self._append(ImageHeader(0, (float(label),), self.image_count + 1), image))

    def _append(self, header: ImageHeader, image: bytes) -> int:
        record = pack_record(pack(header, image))
        offset = self._position
        with explained(self._file.name, "cannot be written", "free space or choose another folder"):
            self._file.write(record)
        self._position += len(record)
        return offset

    def _finish(self) -> None:
        if not self._offsets:
            raise InvalidInput(f"{self.directory}: no image to write")
        last_key = self.image_count + len(self._starts)
        if last_key + 1 > EXACT_FLOAT32:
            raise InvalidInput(
                f"{last_key} records are more than the layout can number ({EXACT_FLOAT32}): split the set"
            )
        lines = [f"{key}\t{offset}\n" for key, offset in enumerate(self._offsets, start=1)]
        stops = [*self._starts[1:], self.image_count + 1]
        for key, span in enumerate(zip(self._starts, stops, strict=True), start=self.image_count + 1):
            lines.append(f"{key}\t{self._append(ImageHeader(2, tuple(map(float, span)), key), b'')}\n")
        announced = (float(self.image_count + 1), float(last_key + 1))
        lines.append(f"0\t{self._append(ImageHeader(2, announced, 0), b'')}\n")
        with explained(self.directory, "cannot be written", "free space or choose another folder"):
            self._partial(INDEX_FILE).write_text("".join(lines), "ascii")
            self._partial(PROPERTY_FILE).write_text(f"{len(self._starts)},{IMAGE_SIZE},{IMAGE_SIZE}\n", "ascii")
            self._file.flush()
            os.fsync(self._file.fileno())
            for name in NAMES:
                self._partial(name).rename(self.directory / name)

    def _partial(self, name: str) -> Path:
        return self.directory / f"{name}{PARTIAL}"
