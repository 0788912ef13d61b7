"""The class-sharded margin softmax: each rank holds a block of class centres and no logits cross ranks.

Every rank gathers the embeddings of all ranks, compares them with its own centres and shares three numbers an image:
the largest logit of other classes than its own, then the sum of their exponentials and the logit of the right class.
The gradient is derived by hand beside the loss, since differentiating through the collectives would count each rank's
share world_size times.

A 910A computes matrix products of float32 in float16: operands are rounded, and results as a rule, too, while sums are
float32 (CANN's ops-nn @0fb0ad6b, matmul_util.cpp, SetMatmulOpSupportInfo). Derivatives of the logits, most of which are
near scale / images / classes, would vanish there, and the loss scale comes too late to save them. So each row of them
is multiplied as exponentials that add up to a constant, however many classes there are; the factor of its image
follows the product for the embeddings, and enters that for the centres as a share of all factors.

The inter-class filter takes other classes out of an image's softmax where their cosine is above a limit: they are
likely the same person under another label. InsightFace's (`losses.py`, CombinedMarginLoss) puts 0 in the place of such
a cosine, so that it still counts as exp(0) in the denominator; here it does not count.

Tensor suffixes: b images of this rank, B of all ranks, C classes of this rank, D embedding size.
"""

import numpy as np
from mindspore import Parameter, Tensor, float32, int32, nn, ops
from numpy.typing import NDArray

from arcface_api.resource.spec import LossSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.data.split import PADDING
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.margin import apply_margin

MIN_NORM = 1e-12
LEFT_OUT = -1e6
"""A logit whose exponential beside any other's is 0 in float32, as scales are 1,024 at most; it overflows nowhere."""
ROW_SUM, FACTOR_SUM = 2.0**8, 2.0**6
"""What a row of derivatives adds up to before its factor, and all factors: float16 ends at 65,504, loses below 6e-5.

A row has as much at its own class as at all others, so that no sum of products is greater than 2 * 2**14.
"""
LABEL_BASE = 1 << 12
"""Labels travel as two digits beside the embeddings: float32 holds each of them exactly, but no label from 2**24 on."""


class Classifier(nn.Cell):
    """Centres of this rank's classes; gives the loss of the joined batch and its gradients.

    The loss is the mean over the images of *all* ranks; where a step takes them in several batches, what each of these
    adds to it, which depends on no image of another one. Rows that only fill a batch up count for nothing. The gradient
    for the embeddings is each rank's share of one global gradient: what is computed from it upstream must be summed
    over ranks, not averaged. The gradient for the centres is complete and must not be reduced.
    """

    def __init__(
        self,
        loss: LossSpec,
        classes: ClassRange,
        centers_CD: NDArray[np.float32],
        collectives: Collectives,
        total_batch_size: int | None = None,
    ) -> None:
        """Begin with these centres; images of a step over all ranks, absent where it takes them in one full batch."""
        super().__init__()
        self.total_batch_size = total_batch_size
        self.centers = Parameter(Tensor(centers_CD), name="centers")
        self.loss = loss
        self.scale = loss.scale
        self.limit = None if loss.interclass_filter is None else loss.scale * loss.interclass_filter
        self.start = classes.start
        self.size = classes.size
        self.collectives = collectives
        self.columns_C = Tensor(np.arange(classes.size, dtype=np.int32))
        self.times = ops.MatMul()
        self.times_transposed = ops.MatMul(transpose_b=True)
        self.transposed_times = ops.MatMul(transpose_a=True)

    def construct(self, embeddings_bD: Tensor, labels_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (scalar), d loss / d embeddings of this rank (b, D), d loss / d centres of this rank (C, D).

        Args:
            embeddings_bD: float32, not normalised.
            labels_b: int32 class of each image over all classes, `PADDING` of a row that fills up.
        """
        embeddings_BD, labels_B = self.gather(embeddings_bD, labels_b)
        column_B, weight_B = labels_B - self.start, self.weights(labels_B)
        return self.compare(embeddings_BD, column_B, weight_B, self.centers, self.limit)

    def compare(
        self,
        embeddings_BD: Tensor,
        column_B: Tensor,
        weight_B: Tensor,
        centers_CD: Tensor,
        limit: Tensor | float | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same for the joined batch and these centres.

        Matrices (B, C) are what no number of ranks makes smaller. Two of them and one of truth values live at once:
        what concerns an image's own class is computed apart, for B numbers, and then put in its place.

        Args:
            embeddings_BD: float32, not normalised, of all ranks.
            column_B: int32 place of each image's class among the centres; outside of them where another rank holds it.
            weight_B: float32, what the loss of each image counts.
            centers_CD: float32, not normalised, as many as there are classes of this rank or fewer.
            limit: logit, for all centres or for each (C,), above which another class is left out; None keeps all.
        """
        unit_BD, norm_B1 = _normalised(embeddings_BD)
        unit_CD, norm_C1 = _normalised(centers_CD)
        is_target_BC = ops.equal(column_B.expand_dims(1), self.columns_C[: centers_CD.shape[0]])
        target_B, slope_B = apply_margin(_target_cosines(unit_BD, unit_CD, column_B), self.loss)
        logits_BC = self.times_transposed(self.scale * unit_BD, unit_CD)
        if limit is not None:
            logits_BC = ops.where(logits_BC > limit, LEFT_OUT, logits_BC)
        logits_BC = ops.where(is_target_BC, LEFT_OUT, logits_BC)

        loss_B, exponentials_BC, sum_B, largest_B = self.cross_entropy(logits_BC, self.scale * target_B, column_B)
        lift_B = ROW_SUM / (sum_B * ops.clamp(slope_B, min=1.0))
        d_target_B = -sum_B * slope_B * lift_B
        d_BC = ops.where(is_target_BC, d_target_B.expand_dims(1), exponentials_BC * lift_B.expand_dims(1))
        factor_B1 = (self.scale * weight_B * largest_B / lift_B).expand_dims(1)
        d_unit_BD = self.collectives.all_sum(factor_B1 * self.times(d_BC, unit_CD))
        d_embeddings_BD = _through_normalisation(d_unit_BD, unit_BD, norm_B1)
        part = ops.clamp(factor_B1.sum(), min=MIN_NORM) / FACTOR_SUM
        d_unit_CD = self.transposed_times(d_BC, factor_B1 / part * unit_BD) * part
        d_centers_CD = _through_normalisation(d_unit_CD, unit_CD, norm_C1)
        return (loss_B * weight_B).sum(), self.collectives.own_block(d_embeddings_BD), d_centers_CD

    def gather(self, embeddings_bD: Tensor, labels_b: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) and labels (B,) of all ranks, in one message."""
        if self.collectives.is_alone:
            return embeddings_bD, labels_b
        digits_b2 = ops.stack((labels_b // LABEL_BASE, labels_b % LABEL_BASE), axis=1).astype(float32)
        rows = self.collectives.all_gather(ops.concat((embeddings_bD, digits_b2), axis=1))
        digits_B2 = rows[:, -2:].astype(int32)
        return rows[:, :-2], digits_B2[:, 0] * LABEL_BASE + digits_B2[:, 1]

    def weights(self, labels_B: Tensor) -> Tensor:
        """What the loss of each image counts in the mean (B,)."""
        return ops.not_equal(labels_B, PADDING).astype(float32) / (self.total_batch_size or labels_B.shape[0])

    def cross_entropy(self, logits_BC: Tensor, target_B: Tensor, column_B: Tensor) -> tuple[Tensor, ...]:
        """Cross-entropy of each image over all classes of all ranks, and what probabilities are made of.

        Args:
            logits_BC: of other classes than an image's own, which is left out.
            target_B: of its own, where this rank holds it.
            column_B: its place among the logits.

        Returns:
            Loss (B,); exponentials (B, C) of the logits beside the largest one, their sum (B,) over all ranks, and the
            probability (B,) of the class with the largest one.
        """
        peak_B = self.collectives.all_gather(logits_BC.max(axis=1).expand_dims(0)).max(axis=0)
        exponentials_BC = ops.exp(logits_BC - peak_B.expand_dims(1))
        is_here_B = ops.logical_and(column_B >= 0, column_B < logits_BC.shape[1])
        own_logit_B = ops.where(is_here_B, target_B, ops.zeros_like(target_B))
        sum_B, target_logit_B = self.collectives.all_sum(ops.stack((exponentials_BC.sum(axis=1), own_logit_B)))
        top_B = ops.maximum(peak_B, target_logit_B)
        largest_B = ops.exp(peak_B - top_B)
        denominator_B = sum_B * largest_B + ops.exp(target_logit_B - top_B)
        loss_B = ops.log(denominator_B) + top_B - target_logit_B
        return loss_B, exponentials_BC, sum_B, largest_B / denominator_B


def _target_cosines(unit_BD: Tensor, unit_CD: Tensor, column_B: Tensor) -> Tensor:
    """Cosine of each image with its own class; of an image whose class another rank holds, with any class."""
    safe_B = ops.clamp(column_B, 0, unit_CD.shape[0] - 1)
    return ops.clamp((unit_BD * ops.gather(unit_CD, safe_B, 0)).sum(axis=1), -1.0, 1.0)


def _normalised(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of unit length and their former lengths (N, 1)."""
    norm_N1 = ops.clamp(ops.sqrt((x_ND * x_ND).sum(axis=1, keepdims=True)), min=MIN_NORM)
    return x_ND / norm_N1, norm_N1


def _through_normalisation(d_unit_ND: Tensor, unit_ND: Tensor, norm_N1: Tensor) -> Tensor:
    """Gradient before the normalisation: the part tangential to the sphere, over the length."""
    radial_N1 = (d_unit_ND * unit_ND).sum(axis=1, keepdims=True)
    return (d_unit_ND - unit_ND * radial_N1) / norm_N1


CENTER_SIGMA = 0.01
CENTER_BLOCK = 4096


def initial_centers(classes: ClassRange, embedding_size: int, seed: int) -> NDArray[np.float32]:
    """Fresh centres N(0, 0.01) of a block of classes, (C, D) float32.

    Drawn in blocks of classes with a generator each, so that a class starts the same whatever the number of ranks and
    no rank draws the whole matrix.
    """
    stop = classes.start + classes.size
    rows = np.empty((classes.size, embedding_size), np.float32)
    for block in range(classes.start // CENTER_BLOCK, -(-stop // CENTER_BLOCK)):
        first = block * CENTER_BLOCK
        drawn = np.random.default_rng([seed, block]).standard_normal((CENTER_BLOCK, embedding_size), np.float32)
        low, high = max(first, classes.start), min(first + CENTER_BLOCK, stop)
        rows[low - classes.start : high - classes.start] = CENTER_SIGMA * drawn[low - first : high - first]
    return rows
