"""A verification set: images 2i and 2i + 1 are pair i."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import InvalidInput
from arcface_faces.embedding.embedder import Images, decoding_threads
from arcface_faces.images.decoding import Image, decode_scaled
from arcface_faces.pairs.bin_file import PairPickle, read_pair_pickle
from arcface_faces.pairs.protocol import check_foldable


@dataclass(frozen=True, slots=True)
class PairSet:
    """The set in one `.bin` file; images stay in the file until they are asked for."""

    name: str
    path: Path
    pickle: PairPickle

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(pairs,): whether the two images of a pair show one person."""
        return self.pickle.is_same

    def image(self, number: int) -> Image:
        """One image as the network takes it; InvalidInput naming file and number where it is none."""
        where = f"{self.path}: image {number}"
        try:
            encoded = self.pickle.encoded(number)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error
        return decode_scaled(encoded, where)

    def __len__(self) -> int:
        """Number of images, twice the number of pairs."""
        return len(self.pickle.slices)


def read_pair_set(path: Path) -> PairSet:
    """Open a `.bin`; InvalidInput where images and truth values do not make pairs."""
    pickle = read_pair_pickle(path)
    images, pairs = len(pickle.slices), len(pickle.is_same)
    if not images:
        raise InvalidInput(f"{path}: holds no images")
    if images % 2:
        raise InvalidInput(f"{path}: holds {images} images, an odd number: images 2i and 2i + 1 make pair i")
    if images != 2 * pairs:
        raise InvalidInput(f"{path}: holds {images} images but {pairs} truth values; they should be {images // 2}")
    return PairSet(path.stem, path, pickle)


def open_sets(paths: Iterable[Path]) -> list[PairSet]:
    """Open and check all sets before any is evaluated; the name of a set is that of its file and must be unique."""
    sets = [read_pair_set(path) for path in paths]
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
        if not path.is_file():
            raise InvalidInput(f"{path}: is missing; put the set there or take {name} out of spec.evaluation.sets")
        yield path


def check_images(images: Images) -> None:
    """Decode all images, which takes about a second for ten thousand; InvalidInput names the first that is none."""
    with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="check") as pool:
        for _ in pool.map(images.image, range(len(images))):
            pass
