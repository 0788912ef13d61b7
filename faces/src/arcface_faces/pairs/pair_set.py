"""A verification set in a `.bin` file: a pickle of (list of encoded images, list of truth values), never unpickled.

Images 2i and 2i + 1 are pair i.
"""

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import InvalidInput, explained, printable
from arcface_faces import whole_file
from arcface_faces.embedding.embedder import Images, decoding_threads
from arcface_faces.images import Decode, Image, decode, decode_scaled
from arcface_faces.pairs import groups
from arcface_faces.pairs.protocol import check_foldable
from arcface_faces.pickle import machine, stream, values
from arcface_faces.scores import Groups

SHAPE = "a pair set is a list of encoded images and a list of truth values, as a tuple"
PICKLE_PROTOCOL = 4
"""Of files that are written; all are read."""


@dataclass(frozen=True, slots=True)
class PairPickle:
    """Where the images are in the file, and the truth values."""

    file: stream.SlicedFile
    slices: NDArray[np.int64]
    """(N, 4): offset, length, coding and size of each image."""
    is_same: NDArray[np.bool_]

    def image_bytes(self, image: int) -> bytes:
        """One image as it was encoded, read from the file; InvalidInput without the names of file and image."""
        offset, length, coding, size = (int(number) for number in self.slices[image])
        return self.file.read(stream.FileSlice(offset, length, stream.Coding(coding), size))


@dataclass(frozen=True, slots=True)
class PairSet:
    """The set in one `.bin` file; images stay in the file until they are asked for."""

    name: str
    path: Path
    stored: PairPickle
    groups: Groups | None
    """Of its pairs, where a file beside it says so."""
    decode: Decode

    @property
    def files(self) -> list[Path]:
        """What was read."""
        return [self.path, *([] if self.groups is None else [groups.groups_file(self.path)])]

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(pairs,): whether the two images of a pair show one person."""
        return self.stored.is_same

    def image(self, number: int) -> Image:
        """One image as the network takes it; InvalidInput naming file and number where it is none."""
        return self.decode(*self.stored_image(number))

    def stored_image(self, number: int) -> tuple[bytes, str]:
        """One image as it was encoded, and its place; InvalidInput naming file and number where the file is damaged."""
        where = f"{self.path}: image {number}"
        try:
            return self.stored.image_bytes(number), where
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error

    def __len__(self) -> int:
        """Number of images, twice the number of pairs."""
        return len(self.stored.slices)


def decode_aligned(data: bytes, where: str) -> Image:
    """The image of a set, 112x112; InvalidInput, naming `where`, for any other."""
    return decode(data, where, "where it is aligned give --resize, or make the set anew with arcface pairs make")


def decoder(*, resize: bool) -> Decode:
    """How the images of sets are decoded: aligned ones in another size are scaled where that is asked for."""
    return decode_scaled if resize else decode_aligned


def read_pair_set(path: Path, decode: Decode = decode_aligned) -> PairSet:
    """Open a `.bin` and the groups beside it; InvalidInput where images and truth values do not make pairs."""
    stored = read_pair_pickle(path)
    images, pairs = len(stored.slices), len(stored.is_same)
    if not images:
        raise InvalidInput(f"{path}: holds no images")
    if images % 2:
        raise InvalidInput(f"{path}: holds {images} images, an odd number: images 2i and 2i + 1 make pair i")
    if images != 2 * pairs:
        raise InvalidInput(f"{path}: holds {images} images but {pairs} truth values; they should be {images // 2}")
    return PairSet(printable(path.stem), path, stored, groups.read_groups(path, pairs), decode)


def open_sets(paths: Iterable[Path], decode: Decode = decode_aligned) -> list[PairSet]:
    """Open and check all sets before any is evaluated; the name of a set is that of its file and must be unique."""
    sets = [read_pair_set(path, decode) for path in paths]
    name, times = Counter(opened.name for opened in sets).most_common(1)[0] if sets else ("", 0)
    if times > 1:
        raise InvalidInput(f"{times} sets are called {name!r}: results are told apart by file name, rename one")
    for opened in sets:
        check_foldable(str(opened.path), opened.is_same)
    return sets


def set_files(evaluation: RunEvaluation) -> Iterator[Path]:
    """The `.bin` of each set; InvalidInput names the first that is missing."""
    for name in evaluation.sets:
        path = Path(evaluation.directory) / f"{name}.bin"
        with explained(path, "cannot be looked for", "correct spec.evaluation.path"):
            is_there = path.is_file()
        if not is_there:
            raise InvalidInput(f"{path}: is missing; put the set there or take {name} out of spec.evaluation.sets")
        yield path


def check_images(images: Images) -> None:
    """Decode all images, which takes about a second for ten thousand; InvalidInput names the first that is none."""
    with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="check") as pool:
        for _ in pool.map(images.image, range(len(images))):
            pass


def read_pair_pickle(path: Path) -> PairPickle:
    """Find the images and truth values of a `.bin`; InvalidInput, in one line, for anything else."""
    file = stream.SlicedFile(path)
    value = machine.pickled_value(file)
    try:
        images, labels = _two_parts(value)
        return PairPickle(file, _image_slices(images), _truth_values(file, labels))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {SHAPE}; {error}") from error


def _two_parts(value: object) -> tuple[object, object]:
    """The two that a tuple or a list holds."""
    match value:
        case (images, labels):
            return images, labels
        case values.Items(nested=[images, labels]) if not value.slices and not value.flags:
            return images, labels
    raise InvalidInput("this file holds something else")


def _image_slices(images: object) -> NDArray[np.int64]:
    """(N, 4), from a list, a tuple or an array of objects."""
    listed = values.Items.of(images)
    if listed is None or listed.flags or listed.nested:
        raise InvalidInput("the first part holds something else")
    return np.array(listed.slices, np.int64).reshape(-1, 4)


def _truth_values(file: stream.SlicedFile, labels: object) -> NDArray[np.bool_]:
    match labels:
        case values.Array(data=stream.FileSlice() as part, dtype=values.Dtype() as items):
            numbers = np.frombuffer(file.read(part), items.numpy)
            if not np.isin(numbers, (0, 1)).all():
                raise InvalidInput("the second part holds other numbers than 0 and 1")
            return numbers.astype(np.bool_)
    listed = values.Items.of(labels)
    if listed is None or listed.slices or listed.nested:
        raise InvalidInput("the second part holds something else")
    return np.array(listed.flags, np.bool_)


def write_pairs(path: Path, images: list[bytes], is_same: list[bool]) -> None:
    """Write a `.bin` under another name and rename it.

    Args:
        path: the file; it must not exist.
        images: encoded images, pair i at 2i and 2i + 1.
        is_same: one entry a pair.
    """
    if len(images) != 2 * len(is_same):
        raise ValueError(f"{len(images)} images for {len(is_same)} pairs")
    with explained(path, "cannot be written", "name another file or mend its folder"):
        if path.exists():
            raise InvalidInput(f"{path}: exists already: choose another name or remove it first")
        with whole_file.replacing(path) as file:
            pickle.dump((images, is_same), file, PICKLE_PROTOCOL)
