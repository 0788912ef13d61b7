"""Forward and backward pass of backbone and head, and the one message in which ranks sum what they found.

Tensor suffixes: b images of this rank, D embedding size, P parameters of the backbone laid end to end,
N votes of a rank (see `train_step.StepVotes`).
"""

import mindspore
from mindspore import ParameterTuple, Tensor, nn, ops

from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.network.backbones import preprocessed


class GradientStep(nn.Cell):
    """Loss, gradients and their norms; the backbone's gradients are summed over ranks."""

    def __init__(self, backbone: nn.Cell, classifier: Classifier, collectives: Collectives) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.collectives = collectives
        self.weights = ParameterTuple(backbone.trainable_params())

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor) -> tuple[Tensor, ...]:
        """A summary (4+N,), then one gradient a parameter of the backbone, then the gradient of the centres.

        The summary holds loss, mean embedding length, squared norm of the backbone's gradient, and, added up over all
        ranks, their votes and the squared norms of their centres' gradients.

        Args:
            images: uint8 RGB (b, 3, 112, 112) as decoded.
            labels_b: int32 (b,).
            votes_N: float32 (N,), see `StepVotes`.
        """
        embeddings_bD, backward = ops.vjp(self.backbone, preprocessed(images), weights=self.weights)
        loss, d_embeddings_bD, d_centers = self.classifier(embeddings_bD, labels_b)
        _, gradients = backward(d_embeddings_bD)
        centers_squared_norm = (d_centers * d_centers).sum().reshape((1,))
        gradients, shared = self._summed(gradients, ops.concat((votes_N, centers_squared_norm)))
        squared_norm = Tensor(0.0, mindspore.float32)
        for gradient in gradients:
            squared_norm = squared_norm + (gradient * gradient).sum()
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean()
        summary = ops.concat((ops.stack((loss, length, squared_norm)), shared))
        return (summary, *gradients, d_centers)

    def _summed(self, gradients: tuple[Tensor, ...], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Sum over ranks in one message: the loss is a mean over all ranks already, so nothing is averaged."""
        if self.collectives.is_alone:
            return gradients, shared
        flat = [gradient.reshape(-1) for gradient in gradients]
        joined_P = self.collectives.all_sum(ops.concat((*flat, shared)))
        parts, offset = [], 0
        for gradient in gradients:
            parts.append(joined_P[offset : offset + gradient.size].reshape(gradient.shape))
            offset += gradient.size
        return tuple(parts), joined_P[offset:]
