"""Writes a drawn dataset, a training set and verification sets: other people in each of the two."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arcface_api.errors import ArcFaceError, explained
from arcface_faces.images import cv2
from arcface_faces.pairs.pair_set import write_pairs
from arcface_faces.progress import Advance
from arcface_faces.records.files import NAMES, RecordWriter, refuse_existing
from arcface_faces.workers import stopped_once, uninterrupted, work_for
from arcface_trainer.synth.painting import draw_face, encode_face
from arcface_trainer.synth.person import TRAINING, VERIFICATION, draw_identity

UNFINISHED = ".drawing"
MOST_PROCESSES = 8
"""That draw at once: each takes 91 MB, which on 192 cores were 17 GB."""

# Keep people and images of training and of verification apart, whatever their numbers.
TRAIN_PEOPLE, TRAIN_IMAGES, TEST_PEOPLE, TEST_IMAGES = range(1, 5)


class SynthRequest(NamedTuple):
    """How much to draw."""

    identities: int
    images_per_identity: int
    test_identities: int
    pairs: int
    seed: int

    @property
    def steps(self) -> int:
        """Units of work: an identity or a pair."""
        return self.identities + len(VERIFICATION) * self.pairs


def write_dataset(out: Path, request: SynthRequest, advance: Advance) -> None:
    """Draw everything into a folder; InvalidInput where it holds such files already.

    The files get there when all are drawn, `train.rec` last, so that a drawing that is broken off can be started anew.
    """
    names = [*(f"{name}.bin" for name in VERIFICATION), *NAMES]
    refuse_existing(out, tuple(names))
    with _drawing_folder(out) as folder:
        _draw(folder, request, advance)
        for name in names:
            (folder / name).rename(out / name)


@contextmanager
def _drawing_folder(out: Path) -> Iterator[Path]:
    """A folder for unfinished files inside of `out`, anew; it goes in the end, whatever happens."""
    folder = out / UNFINISHED
    try:
        with explained(out, "cannot be written", "choose another folder"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draw(out: Path, request: SynthRequest, advance: Advance) -> None:
    """Draw everything into an empty folder."""
    context = get_context("spawn")  # forking a process with OpenCV's threads may hang
    processes = min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
    with (
        _explained_death(),
        stopped_once(),
        ProcessPoolExecutor(processes, context, _start_drawing, (os.getpid(),)) as pool,
    ):
        for name in VERIFICATION:
            write_verification_set(out / f"{name}.bin", request, name, pool, advance)
        with RecordWriter(out) as writer:
            with uninterrupted():
                drawn = pool.map(training_images, *_repeated(request, request.identities), chunksize=8)
            for images in drawn:
                writer.start_identity()
                for image in images:
                    writer.add(image)
                advance(1)


def _start_drawing(parent: int) -> None:
    """In a process that draws."""
    work_for(parent)
    cv2.setNumThreads(1)


@contextmanager
def _explained_death() -> Iterator[None]:
    """ArcFaceError where a process that draws is ended, as the system does where memory is short."""
    try:
        yield
    except BrokenProcessPool as error:
        raise ArcFaceError("a process was ended while it drew: free memory and try again") from error


def write_verification_set(path: Path, request: SynthRequest, name: str, pool: Executor, advance: Advance) -> None:
    """One set; same and different pairs alternate, so that every fold holds as many of either."""
    names = [name] * request.pairs
    images: list[bytes] = []
    with uninterrupted():
        drawn = pool.map(pair_images, *_repeated(request, request.pairs), names, chunksize=32)
    for pair in drawn:
        images += pair
        advance(1)
    write_pairs(path, images, [_is_same_pair(number) for number in range(request.pairs)])


def _repeated(request: SynthRequest, count: int) -> tuple[list[SynthRequest], Iterator[int]]:
    return [request] * count, iter(range(count))


def _is_same_pair(number: int) -> bool:
    """Whether this pair shows one person twice."""
    return number % 2 == 0


def training_images(request: SynthRequest, identity: int) -> list[bytes]:
    """Images of one training identity, each under conditions of its own."""
    person = draw_identity(np.random.default_rng([request.seed, TRAIN_PEOPLE, identity]))
    images = []
    for number in range(request.images_per_identity):
        random = np.random.default_rng([request.seed, TRAIN_IMAGES, identity, number])
        conditions = TRAINING[int(random.integers(len(TRAINING)))]
        images.append(encode_face(draw_face(person, conditions, random)))
    return images


def pair_images(request: SynthRequest, number: int, name: str) -> tuple[bytes, bytes]:
    """The two images of a pair, taken under the set's two conditions."""
    stream = list(VERIFICATION).index(name)
    random = np.random.default_rng([request.seed, TEST_IMAGES, stream, number])
    first = int(random.integers(request.test_identities))
    other = (first + 1 + int(random.integers(request.test_identities - 1))) % request.test_identities
    second = first if _is_same_pair(number) else other
    people = [
        draw_identity(np.random.default_rng([request.seed, TEST_PEOPLE, identity])) for identity in (first, second)
    ]
    left, right = VERIFICATION[name]
    return (
        encode_face(draw_face(people[0], left, random)),
        encode_face(draw_face(people[1], right, random)),
    )
