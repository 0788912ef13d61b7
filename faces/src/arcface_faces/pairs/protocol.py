"""10-fold verification of a pair set, number for number as the reference (`verification.py` of InsightFace) does it.

Views of an image are added, the sums scaled to unit length, and pair i (images 2i and 2i + 1) is called the same person
where the squared distance is less than a threshold. Each of 10 contiguous folds is judged with the threshold that is
best on the other nine. On arrays: needs NumPy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.vectors import BLOCK, Embeddings, nonzero_norms
from arcface_faces.scores import Groups, Scores

FOLDS = 10
THRESHOLD_STEP = 0.01
THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, THRESHOLD_STEP)


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Accuracy on each fold and the threshold that its other folds chose."""

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The accuracy that is reported."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Population standard deviation over the folds."""
        return float(self.accuracies.std())

    def threshold_of_pairs(self, pairs: int) -> NDArray[np.float64]:
        """(pairs,) squared distance below which each pair was called the same: that of its fold."""
        return np.repeat(self.thresholds, fold_sizes(pairs))


@dataclass(frozen=True, slots=True)
class PairScores:
    """Everything that is measured on one set."""

    dataset: str
    pairs: int
    folds: FoldAccuracy
    xnorm: float
    """Mean length of the embeddings of all views before they are added."""
    flip: bool
    """Whether mirrored images took part."""
    folds_without_flip: FoldAccuracy | None
    """The same from the original images only, where there are mirrored ones too."""
    scores: Scores
    """Cosines, and what each pair was taken for by the threshold of its fold."""


def verify(
    dataset: str, embeddings_NVD: Embeddings, is_same: NDArray[np.bool_], groups: Groups | None = None
) -> PairScores:
    """Judge the embeddings of a set, whose pairs may be of groups."""
    check_foldable(dataset, is_same)
    flip = embeddings_NVD.shape[1] == 2
    distances = squared_distances(embeddings_NVD)
    folds = fold_accuracy(distances, is_same)
    return PairScores(
        dataset=dataset,
        pairs=len(is_same),
        folds=folds,
        xnorm=mean_norm(embeddings_NVD),
        flip=flip,
        folds_without_flip=fold_accuracy(squared_distances(embeddings_NVD[:, :1]), is_same) if flip else None,
        scores=Scores(1 - distances / 2, is_same, distances < folds.threshold_of_pairs(len(distances)), groups),
    )


def check_foldable(dataset: str, is_same: NDArray[np.bool_]) -> None:
    """InvalidInput where there are fewer pairs than folds, or only one kind: any threshold could be right for all."""
    pairs, same = len(is_same), int(np.count_nonzero(is_same))
    if pairs < FOLDS:
        raise InvalidInput(f"{dataset}: has {pairs} pairs; verification in {FOLDS} folds needs {FOLDS} at least")
    if same in {0, pairs}:
        raise InvalidInput(f"{dataset}: {same} pairs are of one person and {pairs - same} of two; there must be both")


def squared_distances(embeddings_NVD: Embeddings) -> NDArray[np.float64]:
    """One number a pair, 0 to 4; a sum of zeros stays zero and is at distance 1 from every unit vector."""
    return np.concatenate([_block_distances(block.sum(axis=1)) for block in _blocks(embeddings_NVD)])


def _block_distances(sums_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    units = sums_ND / nonzero_norms(sums_ND)[:, None]
    squared: NDArray[np.float64] = np.square(units[0::2] - units[1::2]).sum(axis=1)
    return squared


def mean_norm(embeddings_NVD: Embeddings) -> float:
    """Mean length over images and views."""
    total = sum(float(np.linalg.norm(block, axis=2).sum()) for block in _blocks(embeddings_NVD))
    return total / (embeddings_NVD.shape[0] * embeddings_NVD.shape[1])


def _blocks(embeddings_NVD: Embeddings) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(embeddings_NVD), BLOCK):
        yield embeddings_NVD[start : start + BLOCK].astype(np.float64)


def fold_accuracy(distances: NDArray[np.float64], is_same: NDArray[np.bool_]) -> FoldAccuracy:
    """Judge every fold with the threshold that is best on the others, the smallest of equally good ones."""
    folds = np.array_split(np.arange(len(distances)), FOLDS)
    correct_FT = np.stack([correct_pairs(distances[fold], is_same[fold]) for fold in folds])
    sizes = fold_sizes(len(distances))
    chosen = np.argmax(correct_FT.sum(axis=0) - correct_FT, axis=1)
    return FoldAccuracy(correct_FT[np.arange(FOLDS), chosen] / sizes, THRESHOLDS[chosen])


def fold_sizes(pairs: int) -> NDArray[np.int64]:
    """Pairs of each fold: the first ones have one more where ten do not divide them."""
    return pairs // FOLDS + (np.arange(FOLDS) < pairs % FOLDS)


def correct_pairs(
    distances: NDArray[np.float64],
    is_same: NDArray[np.bool_],
    thresholds: NDArray[np.float64] = THRESHOLDS,
) -> NDArray[np.int64]:
    """Pairs that each threshold judges rightly; `same` is strictly less than the threshold."""
    same, different = np.sort(distances[is_same]), np.sort(distances[~is_same])
    accepted = np.searchsorted(same, thresholds, side="left")
    rejected = len(different) - np.searchsorted(different, thresholds, side="left")
    return accepted + rejected
