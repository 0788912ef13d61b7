"""What befalls a real training of this machine, drawn from a seed: to whom, and at which moment."""

import errno
import signal
from dataclasses import dataclass
from random import Random

SIGNALS: dict[str, tuple[str, int]] = {
    "rank killed": ("arcface_trainer.training.rank", signal.SIGKILL),
    "rank stopped": ("arcface_trainer.training.rank", signal.SIGSTOP),
    "launcher killed": ("arcface train", signal.SIGKILL),
    "scheduler killed": ("arcface_trainer.distributed.scheduler", signal.SIGKILL),
}
"""What the command of the victim has in it, and the signal that it gets."""
TO_THE_RUN: dict[str, int] = {
    "run killed": signal.SIGKILL,
    "checkpoint torn": signal.SIGKILL,
    "run interrupted": signal.SIGINT,
    "run asked to stop": signal.SIGTERM,
}
"""The run ends, and is begun again by its user."""
DISKS: dict[str, int] = {
    "volume full": errno.ENOSPC,
    "volume read-only": errno.EROFS,
    "EIO": errno.EIO,
    "ESTALE": errno.ESTALE,
}
KINDS = (*SIGNALS, *TO_THE_RUN, *DISKS)


@dataclass(frozen=True, slots=True)
class Blow:
    """Something that befalls the training."""

    kind: str
    step: int
    """After which it comes; 0: while the training starts."""
    seconds: float
    """Until it comes from then on; how long it lasts where it passes."""
    victim: int
    """Of several processes alike."""

    def __str__(self) -> str:
        when = f"after step {self.step}" if self.step else "while it starts"
        return f"{self.kind} ({self.victim}) {when} +{self.seconds:.2f} s"


def draw(seed: int, total_steps: int) -> tuple[Blow, ...]:
    """One blow, or two one after the other."""
    random = Random(f"trainings {seed}")
    kinds = random.choices(KINDS, k=random.choice((1, 1, 2)))
    steps = sorted(0 if random.random() < 0.2 else random.randrange(5, total_steps - 10) for _ in kinds)
    return tuple(
        Blow(kind, step, random.uniform(0.0, 1.0 if step else 8.0), random.randrange(2))
        for kind, step in zip(kinds, steps, strict=True)
    )
