"""Which files an ONNX model is made of: weights may lie beside it, in files that its tensors name.

Those names are walked through here, in the wire format of protocol buffers, without onnx and without the weights being
read: a name must not lead out of the model's folder, and all files are hashed. (`onnx.proto`: fields by their numbers;
`external_data` holds pairs of key and value, among them `location`.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import InvalidInput
from arcface_faces.positioned_file import PositionedFile

FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
"""Messages on the way to a location: field number and type."""
ENTRY = "StringStringEntryProto"
DEEPEST = 100
"""Messages within messages; protocol buffers read no more either."""
LONGEST_ENTRY = 8192
"""Bytes of a key and its value that are looked at; paths are shorter."""
VARINT_BYTES = 10
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
GROUP = {3, 4}
"""Begin and end of a group: no model has one, some readers skip it. What is in it is looked at like all else."""


class _ModelFile(PositionedFile):
    suffix = ".onnx"


class _NoModelError(Exception):
    """The bytes are no message: whoever loads the file says so better."""


def external_files(path: Path) -> list[Path]:
    """The files beside a model that hold its weights, in the order of their names.

    Raises:
        InvalidInput: where one is named that is missing or lies elsewhere.
    """
    file = _ModelFile(path)
    try:
        names = set(_Walk(file).locations("ModelProto", 0, file.size, 0))
    except _NoModelError:
        return []
    return [_beside(path, name) for name in sorted(names)]


def _beside(path: Path, name: str) -> Path:
    """The file of an entry; by a link it may lie where the model itself does."""
    data = path.parent / name
    try:
        homes = {path.parent.resolve(), path.resolve().parent}
        is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        is_inside = is_inside and any(data.resolve().is_relative_to(home) for home in homes)
        is_there = data.is_file()
    except (OSError, ValueError, RuntimeError):
        is_inside, is_there = True, False
    if not is_inside:
        raise InvalidInput(
            f"{path}: names weights outside of its folder ({name!a}): put them beside it and name them so"
        )
    if not is_there:
        raise InvalidInput(f"{path}: its weights are missing: put {name!a} beside it, as they were exported")
    return data


@dataclass(frozen=True, slots=True)
class _Walk:
    file: _ModelFile

    def locations(self, kind: str, start: int, stop: int, depth: int) -> Iterator[str]:
        """Values of all `location` entries within a message."""
        if depth > DEEPEST:
            raise _NoModelError
        for number, first, last in self.parts(start, stop):
            inner = FIELDS[kind].get(number)
            if inner == ENTRY:
                yield from self.location(first, last)
            elif inner is not None:
                yield from self.locations(inner, first, last, depth + 1)

    def location(self, start: int, stop: int) -> Iterator[str]:
        """The value of an entry whose key is `location`."""
        if stop - start > LONGEST_ENTRY:
            return
        texts = {number: self.file.bytes_at(first, last - first) for number, first, last in self.parts(start, stop)}
        if texts.get(1) == b"location":
            yield texts.get(2, b"").decode(errors="replace")

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Number, begin and end of each field that has a length."""
        while start < stop:
            tag, start = self.varint(start)
            number, wire = tag >> 3, tag & 7
            if wire == LENGTH:
                size, start = self.varint(start)
                if size > stop - start:
                    raise _NoModelError
                yield number, start, start + size
                start += size
            elif wire == VARINT:
                _, start = self.varint(start)
            elif wire in FIXED:
                start += FIXED[wire]
            elif wire not in GROUP:
                raise _NoModelError

    def varint(self, start: int) -> tuple[int, int]:
        """A number and where the next thing begins."""
        value = 0
        for place, byte in enumerate(self.file.bytes_at(start, VARINT_BYTES)):
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, start + place + 1
        raise _NoModelError
