"""The training step while the backbone keeps its weights (`model.freezeEpochs`): only the class centres learn.

The backbone computes as it does in use, with its running statistics and without dropout. It has no gradient; its
weights, statistics and momentum stay as they are, and so does the loss scale, which has nothing to lift.

Tensor suffixes: b images of this rank, C classes of this rank, D embedding size, N votes of a rank (see `votes`).
"""

from concurrent.futures import Future
from functools import partial

import numpy as np
from mindspore import Tensor, float32, nn, ops
from numpy.typing import NDArray

from arcface_trainer.background import in_background
from arcface_trainer.network.backbones import preprocessed
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.step.votes import NO_VOTES, StepResult, StepVotes, encode_votes


class FrozenStep:
    """What the host has the device do instead of a whole step, on the same parameters."""

    def __init__(self, whole: TrainStep) -> None:
        self._whole = whole
        self._graph = _HeadStep(whole)

    def launch(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int32],
        rate: float,
        votes: StepVotes = NO_VOTES,
        wait: float = 0.0,
    ) -> "Future[StepResult]":
        """As the whole step's, for which the backbone is left in training mode: graphs are made when first launched."""
        parts = self._whole.gradient_step
        votes_N = encode_votes(votes, wait, parts.collectives.world_size, parts.collectives.rank)
        parts.backbone.set_train(mode=False)
        try:
            summary = self._graph(Tensor(images), Tensor(labels), votes_N, Tensor(rate, float32))
        finally:
            parts.backbone.set_train()
        return in_background(partial(self._whole._result, summary), "step result")  # noqa: SLF001 - its other graph


class _HeadStep(nn.Cell):
    """Forward pass and update of the centres as one graph."""

    def __init__(self, whole: TrainStep) -> None:
        super().__init__(auto_prefix=False)  # the parameters are the whole step's and keep their names
        self.parts = whole.gradient_step
        self.update_centers = whole.update.groups[-1]

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What a whole step gives; the squared norm of the backbone's gradient is 0."""
        parts = self.parts
        prepared = preprocessed(images)
        if parts.overflow_flag is not None:
            prepared = parts.overflow_flag.cleared_before(prepared)
        embeddings_bD = parts.backbone(prepared)
        loss, _, d_centers_CD = parts.classifier(embeddings_bD, labels_b)
        own_part = ops.concat((votes_N, (d_centers_CD * d_centers_CD).sum().reshape((1,))))
        if parts.overflow_flag is not None:
            own_part = ops.concat((own_part, parts.overflow_flag.raised_by([d_centers_CD])))
        shared = parts.collectives.all_sum(own_part)
        is_finite = ops.logical_and(ops.isfinite(loss), ops.isfinite(shared).all())
        if parts.overflow_flag is not None:
            is_finite = ops.logical_and(is_finite, shared[-1] == 0)
        self.update_centers(d_centers_CD.reshape(-1), rate, is_finite)
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean()
        scale = parts.loss_scale.scale if parts.loss_scale is not None else ops.ones_like(loss)
        summary = ops.concat((ops.stack((loss, length, ops.zeros_like(loss))), shared))
        return ops.concat((summary, ops.stack((is_finite.astype(float32), scale))))
