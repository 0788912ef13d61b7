"""The files of a training set in records: their names, `property`, and how they are written.

`train.rec` holds the images, `train.idx` their places; `property`, which only the classic layout has, says
`identities,height,width`.

They are written in the classic layout (see `layout`): they grow under names of this process alone and get theirs at
the end, `train.rec` last, so that a folder with it is whole.
"""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from arcface_api.errors import InvalidInput, explained
from arcface_faces import whole_file
from arcface_faces.images import IMAGE_SIZE
from arcface_faces.positioned_file import read_regular
from arcface_faces.records.recordio import ImageHeader, pack, pack_record

RECORDS_FILE = "train.rec"
INDEX_FILE = "train.idx"
PROPERTY_FILE = "property"
EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to here are exact in float32."""
NAMES = (INDEX_FILE, PROPERTY_FILE, RECORDS_FILE)
"""In the order in which they appear."""
REMEDY = "free space or choose another folder"
_NUMBER = re.compile("[ \t]*[0-9]{1,9}[ \t]*")


@dataclass(frozen=True, slots=True)
class Property:
    """The text file `property`: number of identities and size of the images."""

    identities: int
    height: int
    width: int


def read_property(path: Path) -> Property | None:
    """Parse `property`, None where there is none; InvalidInput for other text or another image size."""
    try:
        with explained(path, "cannot be read", "copy the file again"):
            if not path.exists():
                return None
            text = read_regular(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: cannot be read as text ({error}): copy the file again") from error
    fields = (text.splitlines() or [""])[0].split(",")
    if len(fields) != 3 or not all(map(_NUMBER.fullmatch, fields)):
        raise InvalidInput(f"{path}: {text[:40]!a} is not 'identities,height,width', such as 85742,112,112: write that")
    identities, height, width = (int(field) for field in fields)
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(f"{path}: images of {width}x{height}: pack them anew at {IMAGE_SIZE}x{IMAGE_SIZE}")
    return Property(identities, height, width)


def refuse_existing(directory: Path, names: tuple[str, ...]) -> None:
    """InvalidInput where one of the files is there already: nothing is written over."""
    for name in names:
        with explained(directory / name, "cannot be looked for", "choose another folder"):
            is_there = (directory / name).exists()
        if is_there:
            raise InvalidInput(f"{directory / name}: exists already: choose another folder or remove it first")


class RecordWriter:
    """Takes images identity by identity; use as a context manager, leaving it publishes the set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = ExitStack()
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._position = 0

    def __enter__(self) -> Self:
        refuse_existing(self.directory, NAMES)
        with explained(self.directory, "cannot be written", "choose another folder"):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._file = self._open(RECORDS_FILE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with explained(self.directory, "cannot be written", REMEDY):
            if kind is not None:
                self._files.__exit__(kind, error, trace)
                return
            with self._files:
                self._finish()
                refuse_existing(self.directory, NAMES)  # another process may have been faster

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
        with explained(self.directory / RECORDS_FILE, "cannot be written", REMEDY):
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
        # Names are given in the reverse order.
        self._open(PROPERTY_FILE).write(f"{len(self._starts)},{IMAGE_SIZE},{IMAGE_SIZE}\n".encode("ascii"))
        self._open(INDEX_FILE).write("".join(lines).encode("ascii"))

    def _open(self, name: str) -> BinaryIO:
        """A file that gets its name when the writer is left without an error."""
        return self._files.enter_context(whole_file.replacing(self.directory / name))
