"""What verifications have found so far: the last one, and the best one that has a checkpoint or is about to have it."""

from dataclasses import dataclass

from arcface_api.resource.status import Verification


@dataclass(slots=True)
class Verifications:
    """Of a training, the same on all ranks."""

    last: Verification | None = None
    best: Verification | None = None
    _former_best: Verification | None = None

    def add(self, new: Verification) -> None:
        """Take one into account."""
        self.last = new
        if self.best is None or is_better(new, self.best):
            self._former_best, self.best = self.best, new

    def is_best(self, step: int) -> bool:
        """Whether the state after `step` updates is the best so far."""
        return self.best is not None and self.best.step == step

    def forget(self, step: int) -> None:
        """Go back to the best one before, where the state after `step` updates could not be saved."""
        if self.is_best(step):
            self.best = self._former_best

    def best_until(self, step: int) -> Verification | None:
        """The best one whose checkpoint is there when the newest is that of `step` updates."""
        return self.best if self.best is None or self.best.step <= step else self._former_best


def is_better(new: Verification, old: Verification) -> bool:
    """Whether the mean accuracy has risen; figures on other pairs cannot be compared and give way."""
    pairs = [[(result.dataset, result.pairs) for result in each.results] for each in (new, old)]
    return pairs[0] != pairs[1] or new.mean_accuracy > old.mean_accuracy
