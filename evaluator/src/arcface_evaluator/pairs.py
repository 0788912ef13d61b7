"""Evaluation of several pair sets, one after the other, from a network or from files of embeddings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arcface_api.errors import InvalidInput
from arcface_api.reports import PairSetCount
from arcface_evaluator.embedder import Embedder, Pictures, decoding_threads
from arcface_evaluator.embeddings_file import read_embeddings
from arcface_evaluator.pair_protocol import PairReport, check_foldable, verify
from arcface_evaluator.pair_set import PairSet, read_pair_set
from arcface_evaluator.progress import progress_bar


def open_sets(paths: Iterable[Path]) -> list[PairSet]:
    """Open and check all sets before any is evaluated; the name of a set is that of its file and must be unique."""
    sets = [read_pair_set(path) for path in paths]
    name, times = Counter(opened.name for opened in sets).most_common(1)[0] if sets else ("", 0)
    if times > 1:
        raise InvalidInput(f"{times} sets are called {name!r}: results are told apart by file name, rename one")
    for opened in sets:
        check_foldable(str(opened.path), opened.is_same)
    return sets


def count_pairs(sets: Iterable[PairSet]) -> list[PairSetCount]:
    """Sizes of opened sets."""
    return [
        PairSetCount(name=opened.name, pairs=len(opened.is_same), same=int(opened.is_same.sum())) for opened in sets
    ]


def check_pictures(pictures: Pictures) -> None:
    """Decode all pictures, which takes about a second for ten thousand; InvalidInput names the first that is none."""
    with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="check") as pool:
        for _ in pool.map(pictures.picture, range(len(pictures))):
            pass


def from_pictures(sets: Sequence[PairSet], embedder: Embedder) -> Iterator[PairReport]:
    """Embed and judge each set, with a bar on a terminal."""
    for pair_set in sets:
        with progress_bar(pair_set.name, len(pair_set)) as advance:
            embeddings = embedder(pair_set, advance)
        yield verify(pair_set.name, embeddings, pair_set.is_same)


def from_files(sets: Sequence[PairSet], files: Sequence[Path]) -> Iterator[PairReport]:
    """Judge each set by its file of embeddings."""
    if len(sets) != len(files):
        raise InvalidInput(f"{len(sets)} sets but {len(files)} files of embeddings: give one --embeddings for each set")
    for pair_set, file in zip(sets, files, strict=True):
        yield verify(pair_set.name, read_embeddings(file, len(pair_set)), pair_set.is_same)
