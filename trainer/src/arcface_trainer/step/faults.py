"""What of a step was not finite, and on which rank: found in the step's graph, added up with the votes, named here.

What is computed from a number that is not finite is none either, soon on all ranks. So groups of numbers have an order,
that in which a step computes them, and a rank's finding is one number: how early its first group is that is not finite.
The earliest of any rank is where it began. Groups are the results of the forward pass, the gradient of the centres and
the gradient of each of the backbone's tensors.

A group is told by the sum of its elements, which is not finite where one of them is not. The gradients of many tensors
lie in one vector, a bucket; it is cut into rows so short that each lies within one tensor, which takes one kernel as
the sum of the whole would.

Tensor suffixes: K sums, R ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

FORWARD = ("the embeddings", "the running statistics of the normalisations", "the class centres", "the loss")
"""Centres that are not finite are one rank's alone, and the loss is not finite on all of them at once."""
CENTERS = "the gradient of the class centres"
MOST_ROWS = 1 << 18
"""Of a bucket; one whose tensors have too small a common divisor is one group, told by its first and last tensor."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where numbers that are not finite came from."""

    tensor: str = "a sum over the ranks"
    """Or the group of tensors."""
    rank: int | None = None
    """None where several ranks have it, or none by itself."""
    is_scaled: bool = True
    """Whether the loss scale multiplies it, as it does the backbone's gradients alone: a lower one may cure them."""

    def __str__(self) -> str:
        where = "" if self.rank is None else f" on rank {self.rank}"
        return f"{self.tensor} not finite{where}"


IN_A_SUM = Fault()
"""Each rank's own numbers are finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """What is told apart, in the order in which a step computes it."""

    names: tuple[str, ...]
    numbers: NDArray[np.int64]
    """Place in `names` of each sum (K,): those of the forward pass, the centres, and the rows of the buckets."""
    widths: tuple[int, ...] = ()
    """Elements of a row of each bucket."""

    @classmethod
    def of(cls, sizes: dict[str, int], buckets: Sequence[tuple[int, int]]) -> "Groups":
        """Groups of weights with so many elements, whose gradients lie in these buckets.

        The backward pass comes to the last tensor of a bucket first.
        """
        weights = list(sizes)
        groups = cls((*FORWARD, CENTERS), np.arange(len(FORWARD) + 1))
        for start, stop in buckets:
            groups = groups._with_bucket(weights[start:stop], [sizes[name] for name in weights[start:stop]])
        return groups

    @property
    def head(self) -> "Groups":
        """Those of a step that gives the backbone no gradient, under the same numbers."""
        return replace(self, numbers=self.numbers[: len(FORWARD) + 1], widths=())

    def _with_bucket(self, weights: list[str], sizes: list[int]) -> "Groups":
        total, width = sum(sizes), math.gcd(*sizes)
        if total // width > MOST_ROWS:
            weights, sizes, width = [f"{weights[0]}..{weights[-1]}"], [total], total
        names = (*self.names, *(f"the gradient of {name}" for name in reversed(weights)))
        row_numbers = np.repeat(len(names) - 1 - np.arange(len(weights)), np.array(sizes) // width)
        return Groups(names, np.concatenate((self.numbers, row_numbers)), (*self.widths, width))

    def earliness(self) -> NDArray[np.float32]:
        """A number of each sum (K,), the higher the earlier, at least 1; few enough that float32 holds them exactly."""
        return (len(self.names) - self.numbers).astype(np.float32)


class FaultFinder(nn.Cell):
    """A rank's finding at the place of its number, 0 at all others."""

    def __init__(self, groups: Groups, world_size: int, rank: int) -> None:
        super().__init__()
        self.widths = groups.widths
        self.earliness_K = Tensor(groups.earliness())
        self.place_R = Tensor((np.arange(world_size) == rank).astype(np.float32))

    def construct(self, forward: tuple[Tensor, ...], centers: Tensor, gradients: list[Tensor]) -> Tensor:
        """float32 (R,): how early the first group is that is not finite, 0 where all are.

        Args:
            forward: a number (1,) for each of `FORWARD`.
            centers: one (1,) of the centres' gradient.
            gradients: this rank's own buckets, before they are summed over ranks.
        """
        told = [*forward, centers]
        for index in range(len(self.widths)):
            told.append(gradients[index].reshape((-1, self.widths[index])).sum(axis=1))
        found = ops.where(ops.isfinite(ops.concat(told)), ops.zeros_like(self.earliness_K), self.earliness_K).max()
        return found * self.place_R


def read_faults(findings: Sequence[float], names: Sequence[str]) -> Fault:
    """Where a step went wrong, from the findings of all ranks; where no rank has any, in what was summed over them."""
    earliest = max(findings)
    if not earliest:
        return IN_A_SUM
    ranks = [rank for rank, each in enumerate(findings) if each == earliest]
    first = len(names) - int(earliest)
    return Fault(names[first], ranks[0] if len(ranks) == 1 else None, is_scaled=first > names.index(CENTERS))
