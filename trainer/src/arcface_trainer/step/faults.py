"""What of a step was not finite, and on which rank: found in the step's graph, added up with the votes, named here.

A rank's findings are one number with a bit for each group of tensors, in the order in which a step computes them. What
is computed from a number that is not finite is none either, soon on all ranks: the lowest bit of any rank is where it
began. A group is told by the sum of its elements, which is not finite where one of them is not; that takes one kernel.

Tensor suffixes: K groups, R ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, float32, nn, ops

FORWARD = ("the embeddings", "the running statistics of the normalisations", "the loss")
CENTERS = "the gradient of the class centres"
BITS = 20
"""That groups have of their own; further ones share the last, so that a sum is a number that float32 holds exactly."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where numbers that are not finite came from."""

    tensor: str = "a sum over the ranks"
    """Or the group of tensors."""
    rank: int | None = None
    """None where several ranks have it, or none by itself."""
    is_gradient: bool = True
    """Whether the backward pass made it, which a lower loss scale may cure."""

    def __str__(self) -> str:
        where = "" if self.rank is None else f" on rank {self.rank}"
        return f"{self.tensor} not finite{where}"


IN_A_SUM = Fault()
"""Each rank's own numbers are finite."""


class FaultFinder(nn.Cell):
    """A rank's findings at the place of its number, 0 at all others."""

    def __init__(self, buckets: int, world_size: int, rank: int) -> None:
        super().__init__()
        groups = len(FORWARD) + 1 + buckets
        self.bit_K = Tensor(2.0 ** np.minimum(np.arange(groups), BITS - 1), float32)
        self.place_R = Tensor((np.arange(world_size) == rank).astype(np.float32))

    def construct(self, forward: tuple[Tensor, ...], centers: Tensor, gradients: list[Tensor]) -> Tensor:
        """float32 (R,): the bits of the groups that are not finite.

        Args:
            forward: a number (1,) for each of `FORWARD`.
            centers: one (1,) of the centres' gradient.
            gradients: this rank's own buckets, before they are summed over ranks.
        """
        told = [*forward, centers]
        for gradient in gradients:
            told.append(gradient.sum().reshape((1,)))
        bits = ops.where(ops.isfinite(ops.concat(told)), ops.zeros_like(self.bit_K), self.bit_K).sum()
        return bits * self.place_R


def group_names(weights: Sequence[str], buckets: Sequence[tuple[int, int]]) -> list[str]:
    """What a step's groups are called: those of the forward pass, the centres, and the buckets of the gradient."""
    ranges = [
        weights[start] if stop - start == 1 else f"{weights[start]}..{weights[stop - 1]}" for start, stop in buckets
    ]
    return [*FORWARD, CENTERS, *(f"the gradient of {name}" for name in ranges)]


def read_faults(findings: Sequence[float], names: Sequence[str]) -> Fault:
    """Where a step went wrong, from the findings of all ranks; where no rank has any, in what was summed over them."""
    found = [int(each) for each in findings]
    if not any(found):
        return IN_A_SUM
    first = min((each & -each).bit_length() - 1 for each in found if each)
    ranks = [rank for rank, each in enumerate(found) if each >> first & 1]
    tensor, rank = names[min(first, len(names) - 1)], ranks[0] if len(ranks) == 1 else None
    return Fault(tensor, rank, is_gradient=first >= len(FORWARD))
