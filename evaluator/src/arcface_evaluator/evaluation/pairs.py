"""Pair sets, one after the other, from a network or from files of embeddings, to a document."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from arcface_api.contract.reports import PairSetCount
from arcface_api.errors import InvalidInput
from arcface_evaluator.report import document, entries
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.embedding.vectors import read_embeddings
from arcface_faces.pairs.pair_set import PairSet
from arcface_faces.pairs.protocol import PairScores, verify
from arcface_faces.progress import progress_bar


def count_pairs(sets: Iterable[PairSet]) -> list[PairSetCount]:
    """Sizes of opened sets."""
    return [
        PairSetCount(name=opened.name, pairs=len(opened.is_same), same=int(opened.is_same.sum())) for opened in sets
    ]


def from_images(sets: Sequence[PairSet], embedder: Embedder) -> Iterator[PairScores]:
    """Embed and judge each set, with a bar on a terminal."""
    for pair_set in sets:
        with progress_bar(pair_set.name, len(pair_set)) as advance:
            embeddings = embedder(pair_set, advance)
        yield verify(pair_set.name, embeddings, pair_set.is_same)


def from_files(sets: Sequence[PairSet], files: Sequence[Path]) -> Iterator[PairScores]:
    """Judge each set by its file of embeddings."""
    if len(sets) != len(files):
        raise InvalidInput(f"{len(sets)} sets but {len(files)} files of embeddings: give one --embeddings for each set")
    for pair_set, file in zip(sets, files, strict=True):
        yield verify(pair_set.name, read_embeddings(file, len(pair_set)), pair_set.is_same)


def pairs_document(
    found: Sequence[PairScores], checkpoint: Path | None, inputs: Sequence[Path]
) -> document.EvaluationFile:
    """The numbers of all sets; `inputs` are the files that they depend on."""
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        results=[entries.result_of(scores) for scores in found],
        details=[entries.details_of(scores) for scores in found],
        curves=[
            entries.curves_of(scores.dataset, "cosine", scores.scores, scores.is_same)
            for scores in found
            if 0 < scores.is_same.sum() < scores.pairs
        ],
        inputs=[document.InputFile.of(path) for path in inputs],
    )


def hardest_of_pairs(pair_set: PairSet, found: PairScores) -> list[entries.HardPairs]:
    """The pairs of a set that the scores are most wrong about."""

    def show(number: int, score: str) -> entries.HardPair:
        return entries.HardPair(f"pair {number}: {score}", (pair_set.image(2 * number), pair_set.image(2 * number + 1)))

    return entries.hardest_pairs(found.dataset, found.scores, found.is_same, show)
