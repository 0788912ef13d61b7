"""Partial FC (An et al. 2022, arXiv 2203.15565): a step compares with a share of the classes and all of the batch's.

The host draws classes by a hash (see `arcface_api.class_sampling`), since it knows the step and since integers of a
device need not wrap around as the hash wants it. The classes of the batch join them on the device, where the labels of
all ranks meet. What is compared with is a matrix of rows with a fixed number of them: the rows of these classes in
their order and, behind them, some of the others, which are left out of the softmax and stay as they are. So no row
stands twice, whatever is written back, and the graph's shapes never change. Every class of the batch has a row, also
where there are more of them than are drawn.

MindSpore documents all operators here and in `RowMomentum` for Ascend; nobody has run them on a card.

The choice is a small graph of its own before the others of a step, which costs a message of the labels: the classes of
all micro-batches must be known before the first of them is compared.

Tensor suffixes: b images of this rank in a micro-batch, s in a whole step, B and S those of all ranks, C classes of
this rank, K rows that a step compares with, D embedding size.
"""

from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor, float32, int32, nn, ops
from numpy.typing import NDArray

from arcface_api.class_sampling import draw_capacity, row_capacity
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives
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
    """Share of the classes; below 1 where it is used."""

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
    """The rows of a step: chosen before its first micro-batch, kept on the device until its update."""

    def __init__(self, classes: ClassRange, row_count: int, collectives: Collectives) -> None:
        super().__init__()
        self.start, self.class_count, self.row_count = classes.start, classes.size, row_count
        self.collectives = collectives
        self.numbers_C = Tensor(np.arange(1, classes.size + 1, dtype=np.int32))
        self.numbers_K = Tensor(np.arange(1, row_count + 1, dtype=np.int32))
        self.first_with = ops.SearchSorted(int32)
        self.class_K = _counted(np.arange(row_count), "row_classes")
        self.used_C = _counted(np.zeros(classes.size), "used_classes")

    def construct(self, labels_s: Tensor, is_drawn_C: Tensor) -> Tensor:
        """Choose; returns how many rows are compared with (1,).

        Args:
            labels_s: int32 class over all classes of this rank's images of the whole step, -1 for what only fills up.
            is_drawn_C: truth values; with the batch's classes no more than there are rows.
        """
        is_here_S, safe_S = self.held(self.collectives.all_gather(labels_s.expand_dims(1)).reshape(-1))
        images_C = ops.unsorted_segment_sum(is_here_S.astype(int32), safe_S, self.class_count)
        used_C = ops.cumsum(ops.logical_or(is_drawn_C, images_C > 0).astype(int32), 0)
        count = used_C[-1:]
        used_K = self.first_with(used_C, self.numbers_K)
        unused_K = self.first_with(self.numbers_C - used_C, self.numbers_K - count)
        ops.assign(self.class_K, ops.where(self.numbers_K <= count, used_K, unused_K))
        ops.assign(self.used_C, used_C)
        return count

    def is_used(self) -> Tensor:
        """Whether each row (K,) is compared with."""
        return self.numbers_K <= self.used_C[-1:]

    def rows(self, labels_B: Tensor) -> Tensor:
        """Row of each image's class (B,); -1 where another rank holds it."""
        is_here_B, safe_B = self.held(labels_B)
        return ops.where(is_here_B, ops.gather(self.used_C, safe_B, 0) - 1, -1)

    def held(self, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Whether this rank holds each image's class (B,), and its place among its classes, or any other one's."""
        class_B = labels_B - self.start
        is_here_B = ops.logical_and(class_B >= 0, class_B < self.class_count)
        return is_here_B, ops.clamp(class_B, 0, self.class_count - 1)


def _counted(values: NDArray[np.int64] | NDArray[np.float64], name: str) -> Parameter:
    return Parameter(Tensor(values.astype(np.int32)), name=name, requires_grad=False)


class SampledClassifier(nn.Cell):
    """The classifier on the rows of a step."""

    def __init__(self, classifier: Classifier, draw: ClassDraw, images: int) -> None:
        """Make it.

        Args:
            classifier: of all classes of this rank.
            draw: which of them a step draws.
            images: of a whole step over all ranks.
        """
        super().__init__()
        self.classifier = classifier
        self.centers = classifier.centers
        self.draw = draw
        count = row_capacity(classifier.size, draw.rate, images)
        self.selection = RowSelection(draw.classes, count, classifier.collectives)
        self.limit = Tensor(-LEFT_OUT if classifier.limit is None else classifier.limit, float32)

    def choose(self, labels: NDArray[np.int32], step: int) -> None:
        """Choose the rows of the step that follows `step` updates; all ranks must call together.

        Args:
            labels: class of this rank's images of the whole step, -1 for what only fills up.
            step: updates before it.
        """
        self.selection(Tensor(labels), Tensor(self.draw.at(step)))

    def construct(self, embeddings_bD: Tensor, labels_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, d loss / d embeddings of this rank (b, D), d loss / d rows (K, D), as `Classifier` gives them.

        Args:
            embeddings_bD: float32, not normalised.
            labels_b: int32 class of each image over all classes; of images that were chosen for.
        """
        embeddings_BD, labels_B = self.classifier.gather(embeddings_bD, labels_b)
        row_B, weight_B = self.selection.rows(labels_B), self.classifier.weights(labels_B)
        centers_KD = ops.gather(self.centers, self.selection.class_K, 0)
        limit_K = ops.where(self.selection.is_used(), self.limit, LEFT_OUT)
        return self.classifier.compare(embeddings_BD, row_B, weight_B, centers_KD, limit_K)
