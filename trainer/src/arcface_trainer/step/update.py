"""What a step changes, on flat vectors: weights by SGD with momentum, and the running statistics of normalisations.

Statistics are guarded as weights are: a step that is left out does not count. The forward pass moves the network's own
tensors in place, whatever comes out of it. So the truth is one vector, which the tensors are given before the pass and
which takes them over after it where the step's numbers are finite. Keeping them a tensor at a time costs two copies of
each instead, one before it is moved and one before it is put right.

Tensor suffixes: P elements of a group of parameters, S running statistics, laid end to end; K rows of a matrix of
width D.
"""

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops
from numpy.typing import NDArray

from arcface_api.resource.spec import OptimizerSpec
from arcface_faces.checkpoint import Tensors
from arcface_trainer.head.sampling import RowSelection
from arcface_trainer.step.flat import FlatParameters
from arcface_trainer.step.gradients import GradientStep

SMALLEST_NORM = 1e-12


class FlatMomentum(nn.Cell):
    """v = momentum*v + (g + decay*w); w = w - rate*v, for a group of parameters at once."""

    def __init__(self, weights: FlatParameters, optimizer: OptimizerSpec, name: str) -> None:
        super().__init__()
        self.weights = weights
        self.momentum = optimizer.momentum
        self.decay = optimizer.weight_decay
        self.velocity = Parameter(Tensor(np.zeros(weights.size, np.float32)), name=name, requires_grad=False)

    @property
    def size(self) -> int:
        """Elements of a gradient."""
        return self.weights.size

    def construct(self, gradient_P: Tensor, rate: Tensor, is_finite: Tensor) -> None:
        """Apply one update; where the numbers are not finite, weights and momentum stay what they were, to the bit."""
        velocity_P = self.momentum * self.velocity + (gradient_P + self.decay * self.weights())
        self.weights.subtract(ops.where(is_finite, rate * velocity_P, _scalar(0.0)))
        ops.assign(self.velocity, ops.where(is_finite, velocity_P, self.velocity))


class RowMomentum(nn.Cell):
    """The same for the rows that a step compares with: what is not among them neither moves nor decays.

    Its momentum waits, too, as in the first version of Partial FC (InsightFace's `partial_fc.py` until 2023). Nothing
    as large as the matrix is made: rows are gathered and written back in their places.
    """

    def __init__(self, weights: FlatParameters, optimizer: OptimizerSpec, name: str, selection: RowSelection) -> None:
        super().__init__()
        self.weights = weights
        self.matrix = weights.parameters[0]
        self.selection = selection
        self.momentum = optimizer.momentum
        self.decay = optimizer.weight_decay
        self.velocity = Parameter(Tensor(np.zeros(self.matrix.shape, np.float32)), name=name, requires_grad=False)
        self.write_back = ops.ScatterUpdate()

    @property
    def size(self) -> int:
        """Elements of a gradient."""
        return self.selection.row_count * int(self.matrix.shape[1])

    def construct(self, gradient_P: Tensor, rate: Tensor, is_finite: Tensor) -> None:
        """Apply one update; where the numbers are not finite, weights and momentum stay what they were, to the bit."""
        class_K = self.selection.class_K
        weights_KD = ops.gather(self.matrix, class_K, 0)
        before_KD = ops.gather(self.velocity, class_K, 0)
        velocity_KD = self.momentum * before_KD + (gradient_P.reshape(weights_KD.shape) + self.decay * weights_KD)
        is_moved_K1 = ops.logical_and(self.selection.is_used(), is_finite).expand_dims(1)
        self.write_back(self.matrix, class_K, ops.where(is_moved_K1, weights_KD - rate * velocity_KD, weights_KD))
        self.write_back(self.velocity, class_K, ops.where(is_moved_K1, velocity_KD, before_KD))


class MomentumUpdate(nn.Cell):
    """The update of all groups: those of the backbone are clipped together, the last one (centres) is not."""

    def __init__(self, groups: list[FlatMomentum | RowMomentum], clip_norm: float) -> None:
        super().__init__()
        self.groups = nn.CellList(groups)
        self.clip_norm = clip_norm

    def construct(self, gradients: tuple[Tensor, ...], squared_norm: Tensor, rate: Tensor, is_finite: Tensor) -> None:
        """Apply one update.

        Args:
            gradients: (P,) of each group.
            squared_norm: of the backbone's gradient.
            rate: learning rate.
            is_finite: whether the numbers are, on every rank.
        """
        factor = ops.clamp(self.clip_norm / ops.sqrt(ops.clamp(squared_norm, min=SMALLEST_NORM)), max=1.0)
        last = len(self.groups) - 1
        for index in range(len(self.groups)):
            gradient_P = gradients[index] if index == last else gradients[index] * factor
            self.groups[index](gradient_P, rate, is_finite)

    def host_momentum(self, weights: dict[str, Parameter]) -> dict[str, NDArray[np.float32]]:
        """Copies of the momentum of these weights, by their names; all weights of a group, or none of it."""
        names = {id(weight): name for name, weight in weights.items()}
        arrays: dict[str, NDArray[np.float32]] = {}
        for group in self.groups:
            owners = group.weights.parameters
            if id(owners[0]) in names:
                pieces = group.weights.pieces(group.velocity.asnumpy().ravel().copy())
                arrays |= {names[id(owner)]: piece for owner, piece in zip(owners, pieces, strict=True)}
        return arrays

    def assign_momentum(self, weights: dict[str, Parameter], arrays: dict[str, NDArray[np.float32]]) -> None:
        """Replace the momentum of these weights."""
        names = {id(weight): name for name, weight in weights.items()}
        for group in self.groups:
            owners = group.weights.parameters
            if id(owners[0]) in names:
                velocity = np.concatenate([arrays[names[id(owner)]].ravel() for owner in owners])
                group.velocity.set_data(Tensor(velocity.reshape(group.velocity.shape)))


class GuardedStatistics(nn.Cell):
    """The statistics of the last step that was applied."""

    def __init__(self, statistics: dict[str, Parameter]) -> None:
        super().__init__()
        self.names = tuple(statistics)
        self.moved = FlatParameters(list(statistics.values()))
        initial = np.concatenate([each.asnumpy().ravel() for each in statistics.values()])
        self.kept = Parameter(Tensor(initial), name="kept_statistics", requires_grad=False)

    def restore(self) -> None:
        """Give the network's tensors these values; before its forward pass."""
        self.moved.assign(self.kept)

    def keep(self, moved_S: Tensor, is_finite: Tensor) -> None:
        """Take over what forward passes have made of them where the step's numbers are finite; else keep all bits."""
        ops.assign(self.kept, ops.where(is_finite, moved_S, self.kept))

    def host_vector(self) -> NDArray[np.float32]:
        """A copy (S,)."""
        return np.array(self.kept.asnumpy(), np.float32)

    def by_name(self, vector_S: NDArray[np.float32]) -> Tensors:
        """Parts of a vector by the names of the network's tensors."""
        return dict(zip(self.names, self.moved.pieces(vector_S), strict=True))

    def load(self, arrays: Tensors) -> None:
        """Go on from these."""
        self.kept.set_data(Tensor(np.concatenate([arrays[name].ravel() for name in self.names])))


class StateUpdate(nn.Cell):
    """What is done with the gradients that a rank has found: summed over ranks, judged, clipped and applied."""

    def __init__(self, gradient_step: GradientStep, update: MomentumUpdate, statistics: GuardedStatistics) -> None:
        super().__init__()
        self.gradient_step = gradient_step
        self.update = update
        self.statistics = statistics
        self.loss_scale = gradient_step.loss_scale

    def construct(self, found: tuple[Tensor, ...], moved_S: Tensor, votes_N: Tensor, rate: Tensor) -> Tensor:
        """The summary of `GradientStep`, whether (1) or not (0) the state was updated, the next step's loss scale."""
        summary, gradients = self.gradient_step.over_ranks(found, moved_S, votes_N)
        # Not the second number: it is this rank's own, and all ranks must come to the same answer.
        is_finite = ops.logical_and(ops.isfinite(summary[0]), ops.isfinite(summary[2:]).all())
        faults = summary[self.gradient_step.first_fault : self.gradient_step.faults_end]
        is_finite = ops.logical_and(is_finite, faults.sum() == 0)
        if self.gradient_step.overflow_flag is not None:
            is_finite = ops.logical_and(is_finite, summary[-1] == 0)
        self.update(gradients, summary[2], rate, is_finite)
        self.statistics.keep(moved_S, is_finite)
        scale = self.loss_scale(is_finite) if self.loss_scale is not None else Tensor(1.0, float32)
        return ops.concat((summary, ops.stack((is_finite.astype(float32), scale))))


def _scalar(value: float) -> Tensor:
    """Zero-dimensional float32 tensor."""
    return Tensor(value, float32)
