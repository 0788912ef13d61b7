"""What is wrong with the images of a set, those included that decode to the right size with half of it lost.

Decoders fill up what they miss and go on. libjpeg complains of it on standard error, the first time for each image, and
nowhere else; so images are decoded in processes whose standard error is a file in memory. What ends too early it does
not always tell, nor OpenCV of PNG's check sums: markers and chunks are walked through here.
"""

import multiprocessing
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import chain

from arcface_api.errors import ArcFaceError, InvalidInput, printable
from arcface_faces import image_header, images as decoding
from arcface_faces.datasets import dataset, record_dataset
from arcface_faces.progress import Advance
from arcface_faces.workers import stopped_once, uninterrupted, work_for

LEAST_HOLE = 160
"""Bytes that are zero in a JPEG's compressed data, more than any sound image of 112x112 pixels has, see `_hole`."""
TASK = 64
"""Images that a process takes at once."""
TASKS_AHEAD = 4
"""For each process; memory holds no more images."""
_Read = tuple[bytes, str] | str
"""An image and its place, or what is wrong with how it is stored."""


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Images of any kind of set, as they are stored."""

    count: int
    read: Callable[[int], tuple[bytes, str]]
    """An image and its place; InvalidInput, naming the place, where what stores it is damaged."""
    decode: Callable[[bytes, str], object]
    """A function of a module, which other processes find by its name; InvalidInput where a size cannot be used."""

    @classmethod
    def of(cls, faces: dataset.FaceDataset) -> "StoredImages":
        """Those of a training set, which must have 112x112 pixels."""
        return cls(len(faces.labels), partial(_read, faces), decoding.decode)


def faults(images: StoredImages, processes: int, advance: Advance) -> Iterator[str]:
    """One line for each image that does not decode without complaint, in the order of the set.

    ArcFaceError where a process that decodes is ended, as the system does where memory is short.
    """
    spawn = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
    count = images.count
    processes = min(processes, -(-count // TASK))
    window = TASK * TASKS_AHEAD * processes
    with (
        stopped_once(),
        ThreadPoolExecutor(processes) as readers,
        ProcessPoolExecutor(processes, spawn, _start_listening, (os.getpid(),)) as decoders,
    ):
        for start in range(0, count, window):
            read = list(readers.map(partial(_outcome, images), range(start, min(start + window, count))))
            tasks = [read[first : first + TASK] for first in range(0, len(read), TASK)]
            try:
                with uninterrupted():
                    found = decoders.map(partial(_faults_of, images.decode), tasks)
                for fault in chain.from_iterable(found):
                    advance(1)
                    if fault is not None:
                        yield fault
            except BrokenProcessPool as error:
                place = next((each[1] for each in read if isinstance(each, tuple)), f"image {start}")
                raise ArcFaceError(
                    f"a process was ended while it decoded, {place} or one of {len(read) - 1} images behind it: "
                    "free memory and try again"
                ) from error


def _read(faces: dataset.FaceDataset, index: int) -> tuple[bytes, str]:
    """With the byte in records, for those who look with other tools."""
    where = faces.where(index)
    if isinstance(faces, record_dataset.RecordDataset):
        where = f"{where} at byte {faces.index.columns['offsets'][index]}"
    return faces.image_bytes(index), where


def _outcome(images: StoredImages, number: int) -> _Read:
    try:
        return images.read(number)
    except InvalidInput as error:
        return str(error)


def _start_listening(parent: int) -> None:
    """In a process that decodes."""
    work_for(parent)
    os.dup2(os.memfd_create("complaints"), sys.stderr.fileno())


def _faults_of(decoded: Callable[[bytes, str], object], images: list[_Read]) -> list[str | None]:
    return [image if isinstance(image, str) else _fault(decoded, *image) for image in images]


def _fault(decoded: Callable[[bytes, str], object], data: bytes, where: str) -> str | None:
    try:
        decoded(data, where)
    except InvalidInput as error:
        _heard()
        return str(error)
    if complaint := _heard() or _lost_end(data):
        return printable(f"{where}: decodes, but a part of the image is lost ({complaint}): copy it again")
    return None


def _heard() -> str:
    """The first line on standard error since the last call."""
    descriptor = sys.stderr.fileno()
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace").strip()
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return text.partition("\n")[0]


def _lost_end(data: bytes) -> str:
    """What the markers of a JPEG or the chunks of a PNG say of lost data; empty where all are in order."""
    if data.startswith(image_header.PNG_START):
        return _lost_chunk(data)
    if not data.startswith(image_header.JPEG_START):
        return ""
    position, hole = 0, bytes(LEAST_HOLE)
    for segment in image_header.segments(data):
        if hole in data[position : segment.start]:
            return f"{len(hole)} zeros within the compressed data"
        if segment.marker == image_header.END_OF_IMAGE:
            return ""
        if segment.marker in image_header.FRAMES:
            sides = data[segment.content + 3 : segment.content + 7]
            hole = _hole(int.from_bytes(sides[:2]), int.from_bytes(sides[2:]))
        position = segment.stop
    return "no end-of-image marker"


def _hole(height: int, width: int) -> bytes:
    """More zeros than a sound image of this size has in a row: its blocks of 8x8 take two bits each at least."""
    blocks = 3 * -(-height // 8) * -(-width // 8)
    return bytes(max(LEAST_HOLE, blocks // 4 + 13))


def _lost_chunk(data: bytes) -> str:
    """PNG: length, type, data and CRC-32 of each chunk, the last of type IEND."""
    position = len(image_header.PNG_START)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return f"check sum of chunk {kind!a}"
        if kind == b"IEND":
            return ""
        position = end + 4
    return "no end-of-image chunk"
