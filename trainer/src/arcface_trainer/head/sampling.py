"""Partial FC (An et al. 2022, arXiv 2203.15565): a step compares with a share of the classes and all of the batch's.

The host draws classes by a hash (see `arcface_api.class_sampling`), since it knows the step and since integers of a
device need not wrap around as the hash wants it. The classes of the batch join them on the device, where the labels of
all ranks meet. What is compared with is a matrix of rows with a fixed number of them: the rows of these classes in
their order and, behind them, some of the others, which are left out of the softmax and stay as they are. So no row
stands twice, whatever is written back, and the graph's shapes never change. Every class of the batch has a row, also
where there are more of them than are drawn.

MindSpore documents all operators here and in `RowMomentum` for Ascend; nobody has run them on a card.

Tensor suffixes: b images of this rank, B of all ranks, C classes of this rank, K rows that a step compares with, D
embedding size.
"""

from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, float32, int32, nn, ops
from numpy.typing import NDArray

from arcface_api.class_sampling import draw_capacity, row_capacity
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.head.classifier import LEFT_OUT, Classifier

GOLDEN = 0x9E3779B97F4A7C15
"""Increment of SplitMix64 (Steele, Lea, Flood 2014), whose mixing of 64 bits is the hash."""
WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class ClassDraw:
    """Which classes of a rank a step draws."""

    seed: int
    classes: ClassRange
    rate: float
    """Share of the classes, below 1."""

    def at(self, step: int) -> NDArray[np.bool_]:
        """Whether each class (C,) is drawn by the step that follows `step` updates."""
        key = _mixed(np.array([self.seed + GOLDEN], np.uint64))[0]
        key = _mixed(np.array([(int(key) + GOLDEN * (step + 1)) % WORD], np.uint64))[0]
        first, size = self.classes
        is_drawn_C = _mixed(key + np.arange(first + 1, first + size + 1, dtype=np.uint64) * np.uint64(GOLDEN)) < (
            np.uint64(int(self.rate * WORD))
        )
        drawn = np.flatnonzero(is_drawn_C)
        is_drawn_C[drawn[draw_capacity(size, self.rate) :]] = False
        return is_drawn_C


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class RowSelection(nn.Cell):
    """From the classes that are drawn and those of the batch to the rows of a step."""

    def __init__(self, class_count: int, row_count: int) -> None:
        super().__init__()
        self.class_count = class_count
        self.numbers_C = Tensor(np.arange(1, class_count + 1, dtype=np.int32))
        self.numbers_K = Tensor(np.arange(1, row_count + 1, dtype=np.int32))
        self.first_with = ops.SearchSorted(int32)

    def construct(self, class_B: Tensor, is_drawn_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class of each row (K,), whether it is compared with (K,), row of each image's class (B,) or -1.

        Args:
            class_B: int32 class of each image, counted from this rank's first; another rank's where it is outside.
            is_drawn_C: truth values; with the batch's classes no more than there are rows.
        """
        is_here_B = ops.logical_and(class_B >= 0, class_B < self.class_count)
        safe_B = ops.clamp(class_B, 0, self.class_count - 1)
        images_C = ops.unsorted_segment_sum(is_here_B.astype(int32), safe_B, self.class_count)
        used_C = ops.cumsum(ops.logical_or(is_drawn_C, images_C > 0).astype(int32), 0)
        unused_C = self.numbers_C - used_C
        count = used_C[-1]
        is_used_K = self.numbers_K <= count
        used_K = self.first_with(used_C, self.numbers_K)
        unused_K = self.first_with(unused_C, self.numbers_K - count)
        row_B = ops.where(is_here_B, ops.gather(used_C, safe_B, 0) - 1, -1)
        return ops.where(is_used_K, used_K, unused_K), is_used_K, row_B


class SampledClassifier(nn.Cell):
    """The classifier on the rows of a step."""

    def __init__(self, classifier: Classifier, rate: float, images: int) -> None:
        """Make it.

        Args:
            classifier: of all classes of this rank.
            rate: share of the classes that is drawn.
            images: of the joined batch.
        """
        super().__init__()
        self.classifier = classifier
        self.centers = classifier.centers
        self.select = RowSelection(classifier.size, row_capacity(classifier.size, rate, images))
        self.limit = Tensor(-LEFT_OUT if classifier.limit is None else classifier.limit, float32)

    def construct(self, embeddings_bD: Tensor, labels_b: Tensor, is_drawn_C: Tensor) -> tuple[Tensor, ...]:
        """Loss, d loss / d embeddings of this rank (b, D), d loss / d rows (K, D), their classes, which are compared.

        Args:
            embeddings_bD: float32, not normalised.
            labels_b: int32 class of each image over all classes.
            is_drawn_C: truth values.
        """
        embeddings_BD, labels_B = self.classifier.gather(embeddings_bD, labels_b)
        class_K, is_used_K, row_B = self.select(labels_B - self.classifier.start, is_drawn_C)
        centers_KD = ops.gather(self.centers, class_K, 0)
        limit_K = ops.where(is_used_K, self.limit, LEFT_OUT)
        loss, d_embeddings_bD, d_centers_KD = self.classifier.compare(embeddings_BD, row_B, centers_KD, limit_K)
        return loss, d_embeddings_bD, d_centers_KD, class_K, is_used_K
