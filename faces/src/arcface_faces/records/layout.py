"""The files of a training set in records: `train.rec`, its index and, in the classic layout, `property`."""

from dataclasses import dataclass
from pathlib import Path

from arcface_api import os_errors
from arcface_api.errors import InvalidInput
from arcface_faces.images.face_input import IMAGE_SIZE

RECORDS_FILE = "train.rec"
INDEX_FILE = "train.idx"
PROPERTY_FILE = "property"
EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True, slots=True)
class Property:
    """The text file `property`: number of identities and size of the images."""

    identities: int
    height: int
    width: int


def read_property(path: Path) -> Property | None:
    """Parse `property`, None where there is none; InvalidInput for other text or another image size."""
    try:
        with os_errors.explained(path, "cannot be read", "copy the file again"):
            if not path.exists():
                return None
            text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: cannot be read as text ({error}): copy the file again") from error
    fields = (text.splitlines() or [""])[0].split(",")
    if len(fields) != 3 or not all(field.strip().isdigit() for field in fields):
        raise InvalidInput(f"{path}: {text[:40]!a} is not 'identities,height,width', such as 85742,112,112: write that")
    identities, height, width = (int(field) for field in fields)
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InvalidInput(f"{path}: images of {width}x{height}: pack them anew at {IMAGE_SIZE}x{IMAGE_SIZE}")
    return Property(identities, height, width)


def refuse_existing(directory: Path, names: tuple[str, ...]) -> None:
    """InvalidInput where one of the files is there already: nothing is written over."""
    for name in names:
        with os_errors.explained(directory / name, "cannot be looked for", "choose another folder"):
            is_there = (directory / name).exists()
        if is_there:
            raise InvalidInput(f"{directory / name}: exists already: choose another folder or remove it first")
