"""Image folder to records and back."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from arcface_api.errors import InvalidInput, explained
from arcface_faces import image_header, images
from arcface_faces.datasets import dataset, image_folder
from arcface_faces.progress import Advance
from arcface_faces.records.files import RecordWriter, refuse_existing

T = TypeVar("T")

CHUNK = 2048
"""Images that are under way in the threads at once."""


def _map_in_threads(work: Callable[[int], T], count: int, threads: int) -> Iterator[T | InvalidInput]:
    """Results of `work` for 0 to count - 1 in this order, or what it found wrong; memory holds one chunk."""

    def outcome(index: int) -> T | InvalidInput:
        try:
            return work(index)
        except InvalidInput as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, CHUNK):
            yield from pool.map(outcome, range(start, min(start + CHUNK, count)))


def pack_folder(
    faces: image_folder.ImageFolderDataset, out: Path, threads: int, advance: Advance, *, skip_bad: bool = False
) -> int:
    """Write the images of a folder as records, JPEG and PNG byte for byte; returns how many were skipped.

    Raises:
        InvalidInput: for an image that is not 112x112 or neither JPEG nor PNG, unless these are skipped; nothing is
            left behind then.
    """

    def checked(index: int) -> bytes:
        image, where = faces.image_bytes(index), faces.where(index)
        _suffix_of(image, where)
        images.decode(image, where)
        return image

    skipped = 0
    last_label = -1
    with RecordWriter(out) as writer:
        outcomes = _map_in_threads(checked, len(faces.labels), threads)
        for label, outcome in zip(faces.labels.tolist(), outcomes, strict=True):
            advance(1)
            if isinstance(outcome, InvalidInput):
                if not skip_bad:
                    raise outcome
                skipped += 1
                continue
            # An identity is started by its first good image: one without any takes no number.
            if label != last_label:
                writer.start_identity()
                last_label = label
            writer.add(outcome)
    return skipped


def unpack_records(faces: dataset.FaceDataset, out: Path, advance: Advance) -> None:
    """Write every image as it is stored into one folder per identity, named by its number.

    Nothing is left behind where one cannot be read or written: a part of a set looks like a set.
    """
    folders = [f"{label:07d}" for label in range(faces.class_count)]
    refuse_existing(out, tuple(folders))
    hidden = out / f".unpacking-{token_hex(4)}"
    with explained(out, "cannot be written", "choose another folder"):
        try:
            for folder in folders:
                (hidden / folder).mkdir(parents=True)
            for index, label in enumerate(faces.labels.tolist()):
                image = faces.image_bytes(index)
                name = f"{index:08d}{_suffix_of(image, faces.where(index))}"
                (hidden / folders[label] / name).write_bytes(image)
                advance(1)
            for folder in folders:
                (hidden / folder).rename(out / folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _suffix_of(image: bytes, where: str) -> str:
    """File suffix of an encoded image; InvalidInput for other formats than JPEG and PNG."""
    if image.startswith(image_header.JPEG_START):
        return ".jpg"
    if image.startswith(image_header.PNG_START):
        return ".png"
    raise InvalidInput(f"{where}: is neither JPEG nor PNG: convert it first")
