"""The state of a training at one moment, as host arrays, to be written while the training goes on."""

from dataclasses import dataclass

import numpy as np

from arcface_api.errors import Diverged
from arcface_api.resource.status import Verification
from arcface_faces.checkpoint import LossScale, Tensors


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A rank's part of the state after `step` updates: copies in host memory that the training does not change."""

    step: int
    head: Tensors
    shared: dict[str, Tensors]
    """Tensors by file, which rank 0 alone writes and holds."""
    verification: Verification | None = None
    """The last one so far."""
    best: Verification | None = None
    loss_scale: LossScale | None = None

    def check_finite(self) -> None:
        """Diverged where a number is not finite: such a state is never saved."""
        for tensors in (self.head, *self.shared.values()):
            for name, array in tensors.items():
                if not np.isfinite(array).all():
                    raise Diverged(
                        f"the state after step {self.step} is not saved: {name} is not finite; lower "
                        "training.optimizer.learningRate"
                    )
