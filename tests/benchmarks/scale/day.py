"""A day of a large cluster, drawn from a seed: which jobs come, how long they train and what befalls them.

All times are in days. A life is a job from its creation to its deletion; what goes by the clock (questions for
progress, renewals, new watches) is not drawn, and there is less of it than in a day where it is played in minutes.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["crash", "killed", "out of memory", "evicted", "deleted pod", "suspended", "removed"]
MEAN_LIFE = 0.5
"""Of a training: about two jobs come and go in a day for each that is there."""
HAPPENINGS: dict[Kind, float] = {
    "crash": 0.12,
    "killed": 0.06,
    "out of memory": 0.06,
    "evicted": 0.06,
    "deleted pod": 0.06,
    "suspended": 0.1,
    "removed": 0.1,
}
"""How often a life meets them, on average; `crash` says why it ended, `killed` does not."""
EVALUATED = 0.25
"""Share of the jobs that are evaluated after their training."""
SUSPENSION = 0.01
NODES_LOST = 6
NODE_AWAY = 0.01


@dataclass(frozen=True, slots=True, order=True)
class Happening:
    """What befalls a job, or a pod of it."""

    at: float
    kind: Kind
    index: int
    """Of the pod, where it befalls one."""


@dataclass(frozen=True, slots=True)
class Life:
    """A job; its training ends well once its time has come and all its pods run."""

    number: int
    arrives: float
    """0 for those that are there when the day begins."""
    ends: float
    is_evaluated: bool
    happenings: tuple[Happening, ...]

    @property
    def name(self) -> str:
        """Unlike that of any other."""
        return f"life-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class NodeLoss:
    """A node falls silent and comes back."""

    at: float
    node: int
    until: float


def draw_lives(seed: int, jobs: int, pods: int) -> list[Life]:
    """Lives of about so many jobs at a time: arrivals by a Poisson process, exponential lengths."""
    random = Random(f"day {seed}")
    arrivals = [0.0] * jobs
    at = random.expovariate(jobs / MEAN_LIFE)
    while at < 1.0:
        arrivals.append(at)
        at += random.expovariate(jobs / MEAN_LIFE)
    return [_draw_life(random, number, arrives, pods) for number, arrives in enumerate(arrivals)]


def _draw_life(random: Random, number: int, arrives: float, pods: int) -> Life:
    ends = arrives + random.expovariate(1 / MEAN_LIFE)
    met = [kind for kind, share in HAPPENINGS.items() if random.random() < share]
    happenings = sorted(Happening(random.uniform(arrives, ends), kind, random.randrange(pods)) for kind in met)
    return Life(number, arrives, ends, random.random() < EVALUATED, tuple(happenings))


def draw_losses(seed: int, nodes: int) -> list[NodeLoss]:
    """The nodes that are lost, each back before the next one goes."""
    random = Random(f"nodes {seed}")
    moments = [(number + 0.2 + 0.6 * random.random()) / NODES_LOST for number in range(NODES_LOST)]
    return [NodeLoss(at, random.randrange(nodes), at + NODE_AWAY) for at in moments]
