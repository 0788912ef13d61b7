"""The class-sharded margin softmax: each rank holds a block of class centres and no logits cross ranks.

Every rank gathers the embeddings of all ranks, compares them with its own centres and shares two numbers an image: the
sum of exponentials and the logit of the right class. The gradient is derived by hand beside the loss, since
differentiating through the collectives would count each rank's share world_size times.

Tensor suffixes: b images of this rank, B of all ranks, C classes of this rank, D embedding size.
"""

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops
from numpy.typing import NDArray

from arcface_api.resource.spec import LossSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.margin import apply_margin

MIN_NORM = 1e-12


class Classifier(nn.Cell):
    """Centres of this rank's classes; gives the loss of the joined batch and its gradients.

    The loss is the mean over the images of *all* ranks. The gradient for the embeddings is therefore each rank's
    share of one global gradient: what is computed from it upstream must be summed over ranks, not averaged. The
    gradient for the centres is complete and must not be reduced.
    """

    def __init__(
        self, loss: LossSpec, classes: ClassRange, centers_CD: NDArray[np.float32], collectives: Collectives
    ) -> None:
        super().__init__()
        self.centers = Parameter(Tensor(centers_CD), name="centers")
        self.loss = loss
        self.scale = loss.scale
        self.start = classes.start
        self.size = classes.size
        self.collectives = collectives

    def construct(self, embeddings_bD: Tensor, labels_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (scalar), d loss / d embeddings of this rank (b, D), d loss / d centres of this rank (C, D).

        Args:
            embeddings_bD: float32, not normalised.
            labels_b: int32 class of each image over all classes.
        """
        embeddings_BD = self.collectives.all_gather(embeddings_bD)
        labels_B = self.collectives.all_gather(labels_b)
        unit_BD, norm_B1 = _normalised(embeddings_BD)
        unit_CD, norm_C1 = _normalised(self.centers)
        cosines_BC = ops.clamp(ops.matmul(unit_BD, unit_CD.T), -1.0, 1.0)

        targets_BC = self.targets(labels_B)
        target_B = (cosines_BC * targets_BC).sum(axis=1)
        after_B, slope_B = apply_margin(target_B, self.loss)
        logits_BC = self.scale * (cosines_BC + targets_BC * (after_B - target_B).expand_dims(1))
        loss, probabilities_BC = self.cross_entropy(logits_BC, targets_BC)

        d_logits_BC = (probabilities_BC - targets_BC) / labels_B.shape[0]
        d_cosines_BC = self.scale * d_logits_BC * (1 + targets_BC * (slope_B - 1).expand_dims(1))
        d_unit_BD = self.collectives.all_sum(ops.matmul(d_cosines_BC, unit_CD))
        d_embeddings_BD = _through_normalisation(d_unit_BD, unit_BD, norm_B1)
        d_centers_CD = _through_normalisation(ops.matmul(d_cosines_BC.T, unit_BD), unit_CD, norm_C1)
        return loss, self.collectives.own_block(d_embeddings_BD), d_centers_CD

    def targets(self, labels_B: Tensor) -> Tensor:
        """One-hot rows (B, C) of this rank's classes; a row is all zero when another rank holds the class."""
        local_B = labels_B - self.start
        is_here_B = ops.logical_and(local_B >= 0, local_B < self.size)
        safe_B = ops.where(is_here_B, local_B, ops.zeros_like(local_B))
        on, off = Tensor(1.0, float32), Tensor(0.0, float32)
        return ops.one_hot(safe_B, self.size, on, off) * is_here_B.astype(float32).expand_dims(1)

    def cross_entropy(self, logits_BC: Tensor, targets_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy over all classes of all ranks, and this rank's columns of the probabilities."""
        peaks = self.collectives.all_gather(logits_BC.max(axis=1).expand_dims(0))
        peak_B = peaks.max(axis=0)
        exponentials_BC = ops.exp(logits_BC - peak_B.expand_dims(1))
        partial_2B = ops.stack((exponentials_BC.sum(axis=1), (logits_BC * targets_BC).sum(axis=1)))
        denominator_B, target_logit_B = self.collectives.all_sum(partial_2B)
        loss = (ops.log(denominator_B) + peak_B - target_logit_B).mean()
        return loss, exponentials_BC / denominator_B.expand_dims(1)


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
