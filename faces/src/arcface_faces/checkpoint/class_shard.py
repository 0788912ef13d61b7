"""Which classes a rank holds. Imports nothing, so that readers of checkpoints need no MindSpore."""

from typing import NamedTuple


class ClassRange(NamedTuple):
    """Block of classes that a rank holds."""

    start: int
    size: int


def class_range(class_count: int, world_size: int, rank: int) -> ClassRange:
    """Contiguous blocks, the first `class_count % world_size` ranks hold one class more (Partial FC's rule)."""
    size, rest = divmod(class_count, world_size)
    return ClassRange(size * rank + min(rank, rest), size + (rank < rest))
