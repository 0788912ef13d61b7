"""The training step while the backbone keeps its weights (`model.freezeEpochs`): only the class centres learn.

The backbone computes as it does in use, with its running statistics and without dropout. It has no gradient; its
weights, statistics and momentum stay as they are, and so does the loss scale, which has nothing to lift. Micro-batches
are taken at once: without a backward pass no layer's output is kept.

Tensor suffixes: b images of this rank, C classes of this rank, D embedding size, N votes of a rank (see `votes`).
"""

import numpy as np
from mindspore import Tensor, float32, nn, ops
from numpy.typing import NDArray

from arcface_trainer.network.backbones import preprocessed
from arcface_trainer.step.faults import FaultFinder
from arcface_trainer.step.train_step import DeviceStep, TrainStep


class FrozenStep(DeviceStep):
    """What the host has the device do instead of a whole step, on the same parameters."""

    def __init__(self, whole: TrainStep) -> None:
        self.gradient_step = whole.gradient_step
        self._graph = _HeadStep(whole)

    def _run(self, images: NDArray[np.uint8], labels: NDArray[np.int32], votes_N: Tensor, rate: Tensor) -> Tensor:
        """As the whole step's, for which the backbone is left in training mode: graphs are made when first launched."""
        self.gradient_step.backbone.set_train(mode=False)
        try:
            return self._graph(Tensor(images), Tensor(labels), votes_N, rate)
        finally:
            self.gradient_step.backbone.set_train()


class _HeadStep(nn.Cell):
    """Forward pass and update of the centres as one graph."""

    def __init__(self, whole: TrainStep) -> None:
        super().__init__(auto_prefix=False)  # the parameters are the whole step's and keep their names
        self.parts = whole.gradient_step
        self.update_centers = whole.update.groups[-1]
        collectives = self.parts.collectives
        self.find_faults = FaultFinder(self.parts.groups.head, collectives.world_size, collectives.rank)

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """What a whole step gives; the squared norm of the backbone's gradient is 0."""
        parts = self.parts
        prepared = preprocessed(images)
        if parts.overflow_flag is not None:
            prepared = parts.overflow_flag.cleared_before(prepared)
        embeddings_bD = parts.backbone(prepared)
        loss, _, d_centers_CD = parts.classifier(embeddings_bD, labels_b)
        gradient_P, loss = d_centers_CD.reshape(-1), loss.reshape((1,))
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean().reshape((1,))
        squared_norm, nothing = (gradient_P * gradient_P).sum().reshape((1,)), ops.zeros_like(loss)
        faults_R = self.find_faults((length, nothing, loss), squared_norm, [])
        own_part = ops.concat((loss, votes_N, faults_R, squared_norm))
        if parts.overflow_flag is not None:
            own_part = ops.concat((own_part, parts.overflow_flag.raised_by([gradient_P])))
        shared = parts.collectives.all_sum(own_part)
        summary = ops.concat((shared[:1] / parts.collectives.world_size, length, nothing, shared[1:]))
        is_sound = summary[parts.first_fault : parts.faults_end].sum() == 0
        is_finite = ops.logical_and(ops.isfinite(shared).all(), is_sound)
        if parts.overflow_flag is not None:
            is_finite = ops.logical_and(is_finite, summary[-1] == 0)
        self.update_centers(gradient_P, rate, is_finite)
        scale = parts.loss_scale.scale if parts.loss_scale is not None else ops.ones_like(rate)
        return ops.concat((summary, ops.stack((is_finite.astype(float32), scale))))
