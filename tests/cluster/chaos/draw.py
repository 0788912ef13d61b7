"""What happens to a job, drawn from a seed: its size, what befalls its pods, and the weather before the API server."""

from dataclasses import dataclass
from random import Random
from typing import Literal

FAULTS: dict[str, tuple[int, str, bool]] = {
    "crash": (1, "Error", True),
    "segfault": (139, "Error", True),
    "killed": (137, "Error", True),
    "out of memory": (137, "OOMKilled", True),
    "bad data": (2, "Error", False),
    "diverged": (3, "Error", False),
}
"""Ends of a rank: exit code, the kubelet's word, and whether another attempt may cure it."""
MISHAPS = (*FAULTS, "evicted", "deleted", "deleted at once", "node lost", "suspended", "re-applied", "removed")
WEATHER = (
    "operator killed", "operator stopped", "503", "500", "429", "watches cut", "410", "none", "none", "none",
)  # fmt: skip
FATAL = frozenset(name for name, (_, _, may_be_cured) in FAULTS.items() if not may_be_cured)
Phase = Literal["Starting", "Training", "Evaluating"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens once the job is in a phase, after some seconds more."""

    phase: Phase
    seconds: float
    kind: str
    rank: int = 0

    def __str__(self) -> str:
        who = f" rank {self.rank}" if self.kind in FAULTS or self.kind in {"evicted", "node lost"} else ""
        return f"in {self.phase} +{self.seconds:.2f}s: {self.kind}{who}"


@dataclass(frozen=True, slots=True)
class Story:
    """One run."""

    seed: int
    replicas: int
    devices: int
    is_ascend: bool
    is_evaluated: bool
    trains_seconds: float
    back_off_limit: int
    clean_pod_policy: str
    events: tuple[Event, ...]

    @property
    def name(self) -> str:
        """Of its namespace."""
        return f"chaos-{self.seed}"

    def __str__(self) -> str:
        kind = f"{'ascend' if self.is_ascend else 'cpu'}{', evaluated' if self.is_evaluated else ''}"
        head = f"seed {self.seed}: {self.replicas} pods x {self.devices}, {kind}, trains {self.trains_seconds:.2f} s"
        policy = f"backoffLimit {self.back_off_limit}, cleanPodPolicy {self.clean_pod_policy}"
        return "\n  ".join([f"{head}, {policy}", *map(str, self.events)])


def draw(seed: int) -> Story:
    """The story of a seed: one mishap or two, and perhaps weather."""
    random = Random(f"chaos {seed}")
    replicas = random.choice((1, 2, 2, 3))
    is_evaluated = random.random() < 0.5
    phases: tuple[Phase, ...] = ("Starting", "Training", "Training", "Evaluating")
    events = [
        Event(random.choice(phases[: 4 if is_evaluated else 3]), random.random(), kind, random.randrange(replicas))
        for kind in random.choices(MISHAPS, k=random.choice((1, 1, 2)))
    ]
    weather = random.choice(WEATHER)
    if weather != "none":
        events.append(Event(random.choice(phases[:3]), random.random(), weather))
    return Story(
        seed=seed,
        replicas=replicas,
        devices=random.choice((1, 2)),
        is_ascend=random.random() < 0.6,
        is_evaluated=is_evaluated,
        trains_seconds=0.5 + 1.5 * random.random(),
        back_off_limit=random.choice((0, 1, 3)),
        clean_pod_policy=random.choice(("Running", "All", "None")),
        events=tuple(events),
    )
