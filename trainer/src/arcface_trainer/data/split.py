"""How the images of a step are dealt out: over the ranks that are there, and at each over micro-batches of one size.

A step is the same images of the global order whatever the number of ranks, so that a gang that has lost nodes, or has
them back, goes on with the very next image. What a rank has no memory for at once it takes one after another. Where
the images do not come out even, they are spread so that a micro-batch is short of one row at most, which is filled up
with a copy of the row before it: a real image, since batch normalisation sees it, too.

Copies count for nothing in loss and gradients, exactly. In the statistics of their own micro-batch, and of no other,
an image counts twice then: these are not those of any other split of the step anyway, with or without copies.

Suffixes: n micro-batches of a rank, b images of one of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING = -1
"""The label of a row that is such a copy: no class's."""


@dataclass(frozen=True, slots=True)
class BatchSplit:
    """A step's images in their order, as micro-batches of rank 0, then of rank 1, and so on."""

    total_batch_size: int
    """At least one image for each rank."""
    world_size: int
    most_at_once: int
    """Images that a rank has memory for."""

    @property
    def micro_batches(self) -> int:
        """Of each rank: no more than its memory asks for."""
        return -(-self.total_batch_size // (self.world_size * self.most_at_once))

    @property
    def micro_batch_size(self) -> int:
        """Rows of each: as few as hold all images."""
        return -(-self.total_batch_size // (self.world_size * self.micro_batches))

    def rows(self, rank: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Places within the step of a rank's rows (n * b,), and whether each is an image or a copy that fills up."""
        least, longer = divmod(self.total_batch_size, self.world_size * self.micro_batches)
        parts_n = np.arange(rank * self.micro_batches, (rank + 1) * self.micro_batches)
        starts_n = least * parts_n + np.minimum(parts_n, longer)
        stops_n = starts_n + least + (parts_n < longer)
        places_nb = starts_n[:, None] + np.arange(self.micro_batch_size)
        is_image_nb = places_nb < stops_n[:, None]
        filled_nb = np.minimum(places_nb, np.maximum(stops_n - 1, 0)[:, None])
        return filled_nb.ravel(), is_image_nb.ravel()
