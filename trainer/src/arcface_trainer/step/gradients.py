"""Loss and gradients of a step, the backbone's in buckets that the ranks sum while the backward pass goes on.

Where a step takes its images in several micro-batches, the ranks sum once, after the last of them (`accumulation`).

Tensor suffixes: b images of this rank, C classes of this rank, D embedding size, N votes of a rank (see `votes`), R
ranks, S running statistics.
"""

from mindspore import Parameter, ParameterTuple, Tensor, float32, nn, ops

from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.head.sampling import SampledClassifier
from arcface_trainer.network.backbones import named_parameters, preprocessed, running_statistics
from arcface_trainer.step import faults, votes
from arcface_trainer.step.flat import FlatParameters, joined
from arcface_trainer.step.loss_scale import DynamicLossScale, OverflowFlag

BUCKET_BYTES = 32 << 20
"""IResNet-100's 248 MiB make seven messages; Huawei's port of arcface_torch to eight 910 sends six parts."""
FLOAT32 = 4


def gradient_buckets(weights: list[Parameter], most_bytes: int = BUCKET_BYTES) -> list[tuple[int, int]]:
    """Neighbours in `weights`, from a start to before a stop, as the backward pass comes to them: the last ones first.

    A bucket holds at most so many bytes, or one parameter that is larger.
    """
    buckets, stop, filled = [], len(weights), 0
    for index in range(len(weights) - 1, -1, -1):
        size = FLOAT32 * weights[index].size
        if filled and filled + size > most_bytes:
            buckets.append((index + 1, stop))
            stop, filled = index + 1, 0
        filled += size
    return [*buckets, (0, stop)]


class GradientStep(nn.Cell):
    """Loss, gradients and their norms; the backbone's gradients are summed over ranks.

    What a rank finds by itself is a tuple: loss (1,), mean embedding length (1,), where the chip saturates (1,) whether
    it did, gradients (P,) of each bucket, those of its centres. Its loss is that of all ranks, see `Classifier`.
    """

    def __init__(
        self,
        backbone: nn.Cell,
        classifier: Classifier | SampledClassifier,
        collectives: Collectives,
        bucket_bytes: int = BUCKET_BYTES,
        *,
        loss_scale: DynamicLossScale | None = None,
        overflow_flag: OverflowFlag | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.collectives = collectives
        self.weights = ParameterTuple(backbone.trainable_params())
        self.buckets = tuple(gradient_buckets(backbone.trainable_params(), bucket_bytes))
        self.statistics = FlatParameters(list(running_statistics(backbone).values()))
        ranks = collectives.world_size
        sizes = {name: weight.size for name, weight in named_parameters(backbone).items() if weight.requires_grad}
        self.groups = faults.Groups.of(sizes, self.buckets)
        self.find_faults = faults.FaultFinder(self.groups, ranks, collectives.rank)
        self.draws_classes = isinstance(classifier, SampledClassifier)
        self.first_fault = 3 + votes.votes_size(ranks) + self.draws_classes
        self.faults_end = self.first_fault + ranks
        self.loss_scale = loss_scale
        self.overflow_flag = overflow_flag

    def construct(self, images: Tensor, labels_b: Tensor, votes_N: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A summary (4+N+R,), and the gradients: (P,) of each bucket, then of the centres.

        The summary holds loss, this rank's mean embedding length, squared norm of the backbone's gradient, and, added
        up over all ranks, their votes, their faults and the squared norms of their centres' gradients. It is longer by
        the number of classes that are compared with, behind the votes, where they are drawn, and where the chip
        saturates by that of ranks on which it did, at the end. The loss is the mean of what the ranks have of it, too.

        Args:
            images: uint8 RGB (b, 3, 112, 112) as decoded.
            labels_b: int32 (b,).
            votes_N: float32 (N,).
        """
        found = self.of_images(images, labels_b)
        return self.over_ranks(found, self.statistics(), votes_N)

    def of_images(self, images: Tensor, labels_b: Tensor) -> tuple[Tensor, ...]:
        """What this rank finds; the gradients of its backbone are multiplied by the loss scale."""
        prepared = preprocessed(images)
        if self.overflow_flag is not None:
            prepared = self.overflow_flag.cleared_before(prepared)
        embeddings_bD, backward = ops.vjp(self.backbone, prepared, weights=self.weights)
        loss, d_embeddings_bD, d_centers_CD = self.classifier(embeddings_bD, labels_b)
        if self.loss_scale is not None:
            d_embeddings_bD = d_embeddings_bD * self.loss_scale.scale
        _, gradients = backward(d_embeddings_bD)
        length = ops.sqrt((embeddings_bD * embeddings_bD).sum(axis=1)).mean()
        numbers: tuple[Tensor, ...] = (loss.reshape((1,)), length.reshape((1,)))
        messages = []
        for start, stop in self.buckets:
            messages.append(joined(gradients[start:stop]))
        if self.overflow_flag is not None:
            # After the centres' as well: the head's products may saturate, and nothing else waits for this one.
            numbers = (*numbers, self.overflow_flag.raised_by([*messages, d_centers_CD]))
        return (*numbers, *messages, d_centers_CD.reshape(-1))

    def over_ranks(
        self, found: tuple[Tensor, ...], moved_S: Tensor, votes_N: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Summary and gradients, as `construct` returns them, from what this rank found and its moved statistics."""
        first = len(found) - 1 - len(self.buckets)
        loss, length, messages, d_centers_P = found[0], found[1], list(found[first:-1]), found[-1]
        # What is between length and gradients: whether the chip has saturated, or nothing.
        centers_squared_norm = (d_centers_P * d_centers_P).sum().reshape((1,))
        forward = (length, moved_S.sum().reshape((1,)), self.sum_of_centers(), loss)
        faults_R = self.find_faults(forward, centers_squared_norm, messages)
        own_part = ops.concat((loss, self.counted(votes_N), faults_R, centers_squared_norm, *found[2:first]))
        summed, shared = self.collectives.all_sum_in_order(messages, own_part)
        if self.loss_scale is not None:
            summed = [message / self.loss_scale.scale for message in summed]
        joint_loss = shared[:1] / self.collectives.world_size
        summary = ops.concat((joint_loss, length, _squared_norm(summed).reshape((1,)), shared[1:]))
        return summary, (*summed, d_centers_P)

    def sum_of_centers(self) -> Tensor:
        """Of those of this rank that the step compares with (1,); before they are updated."""
        centers = self.classifier.centers
        if self.draws_classes:
            centers = ops.gather(centers, self.classifier.selection.class_K, 0)
        return centers.sum().reshape((1,))

    def counted(self, votes_N: Tensor) -> Tensor:
        """The votes and behind them, where a step draws classes, how many of this rank's it compares with."""
        if not self.draws_classes:
            return votes_N
        return ops.concat((votes_N, self.classifier.selection.used_C[-1:].astype(float32)))


def _squared_norm(vectors: list[Tensor]) -> Tensor:
    """Of all vectors together."""
    total = (vectors[0] * vectors[0]).sum()
    for vector in vectors[1:]:
        total = total + (vector * vector).sum()
    return total
