"""What is wrong with the images of a set, those included that decode to the right size with half of it lost.

Decoders fill up what they miss and go on. libjpeg complains of it on standard error, the first time for each image, and
nowhere else; so images are decoded in processes whose standard error is a file in memory. What ends too early it does
not always tell, nor OpenCV of PNG's check sums: markers and chunks are walked through here.
"""

import multiprocessing
import os
import re
import signal
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain

from arcface_api.errors import ArcFaceError, InvalidInput, printable
from arcface_api.parent_death import follow_parent
from arcface_faces.datasets import dataset, record_dataset
from arcface_faces.datasets.convert import JPEG_START, PNG_START
from arcface_faces.images import decode
from arcface_faces.progress import Advance

# Within the compressed data FF 00 is a byte and FF D0 to FF D7 restart them.
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
END_OF_IMAGE = 0xD9
SEGMENTS = frozenset(range(0xC0, 0xFF)) - {0xD8, END_OF_IMAGE}
"""Markers with a length behind them."""
HOLE = bytes(160)
"""Zeros in a JPEG's compressed data that no 112x112 image leaves: its 588 blocks take two bits each at least."""
TASK = 64
"""Images that a process takes at once."""
TASKS_AHEAD = 4
"""For each process; memory holds no more images."""
_Read = tuple[bytes, str] | str
"""An image and its place, or what is wrong with how it is stored."""


def faults(faces: dataset.FaceDataset, processes: int, advance: Advance) -> Iterator[str]:
    """One line for each image that does not decode at 112x112 without complaint, in the order of the set.

    ArcFaceError where a process that decodes is ended, as the system does where memory is short.
    """
    spawn = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
    count = len(faces.labels)
    processes = min(processes, -(-count // TASK))
    window = TASK * TASKS_AHEAD * processes
    with (
        ThreadPoolExecutor(processes) as readers,
        ProcessPoolExecutor(processes, spawn, _start_listening, (os.getpid(),)) as decoders,
    ):
        for start in range(0, count, window):
            images = list(readers.map(partial(_read, faces), range(start, min(start + window, count))))
            tasks = [images[first : first + TASK] for first in range(0, len(images), TASK)]
            try:
                for fault in chain.from_iterable(decoders.map(_faults_of, tasks)):
                    advance(1)
                    if fault is not None:
                        yield fault
            except BrokenProcessPool as error:
                raise ArcFaceError(
                    f"a process was ended while it decoded, {faces.where(start)} or one of {len(images) - 1} "
                    "images behind it: free memory and try again"
                ) from error


def _read(faces: dataset.FaceDataset, index: int) -> _Read:
    """With the byte in records, for those who look with other tools."""
    where = faces.where(index)
    if isinstance(faces, record_dataset.RecordDataset):
        where = f"{where} at byte {faces.index.columns['offsets'][index]}"
    try:
        return faces.image_bytes(index), where
    except InvalidInput as error:
        return str(error)


def _start_listening(parent: int) -> None:
    """In a process that decodes."""
    follow_parent(parent, signal.SIGKILL)
    os.dup2(os.memfd_create("complaints"), sys.stderr.fileno())


def _faults_of(images: list[_Read]) -> list[str | None]:
    return [image if isinstance(image, str) else _fault(*image) for image in images]


def _fault(data: bytes, where: str) -> str | None:
    try:
        decode(data, where)
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
    if data.startswith(PNG_START):
        return _lost_chunk(data)
    if not data.startswith(JPEG_START):
        return ""
    position = len(JPEG_START)
    while found := JPEG_MARKER.search(data, position):
        if HOLE in data[position : found.start()]:
            return f"{len(HOLE)} zeros within the compressed data"
        position = found.end()
        if found[1][0] == END_OF_IMAGE:
            return ""
        if found[1][0] in SEGMENTS:
            position += int.from_bytes(data[position : position + 2])
    return "no end-of-image marker"


def _lost_chunk(data: bytes) -> str:
    """PNG: length, type, data and CRC-32 of each chunk, the last of type IEND."""
    position = len(PNG_START)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return f"check sum of chunk {kind!a}"
        if kind == b"IEND":
            return ""
        position = end + 4
    return "no end-of-image chunk"
