"""What happens to a job, drawn from a seed: its size, how its pods begin, what befalls them, and the weather."""

from dataclasses import dataclass
from random import Random
from typing import Literal

FAULTS: dict[str, tuple[int, str, bool]] = {
    "crash": (1, "Error", True),
    "segfault": (139, "Error", True),
    "killed": (137, "Error", True),
    "out of memory": (137, "OOMKilled", True),
    "launcher killed": (137, "Error", True),
    "bad data": (2, "Error", False),
    "diverged": (3, "Error", False),
}
"""Ends by themselves: exit code, the kubelet's word, and whether another attempt may cure it."""
OF_PODS = frozenset({"out of memory", "launcher killed"})
"""Those that end a pod, of whatever component; others are a rank's, whose launcher goes on."""
TAKEN = ("evicted", "preempted", "deleted", "deleted at once", "node lost", "rebooted")
"""The cluster, or somebody, takes a pod away."""
OF_CARDS = ("card fault", "table spoiled")
BY_USERS = ("suspended", "re-applied", "removed", "objects deleted")
MISHAPS = (*FAULTS, *TAKEN, *OF_CARDS, *BY_USERS)
FATAL = frozenset(name for name, (_, _, may_be_cured) in FAULTS.items() if not may_be_cured)
UNDISTURBED = frozenset(FAULTS) - FATAL
"""What is counted for certain where nothing else happens."""
ROOM_LOST = "room lost"
"""A pod is evicted, and there is no node for it until the gang goes on without; of elastic jobs."""

HARMLESS = ("image late", "slow start", "table late", "out of sight", "deaf to SIGTERM")
UNSEEN_FAULTS = ("device withheld", "stands still", "no report")
"""Faults that count and that no exit code tells of."""
OPENINGS = (*HARMLESS, *UNSEEN_FAULTS, "crashes", "found standing still", "refused by its kubelet", "image invalid")
"""How a pod of the first attempt begins where that is not as usual."""
OF_ASCEND = frozenset({"table late", "device withheld"})

WITHDRAWN = "quota withdrawn"
"""Somebody more urgent is given the quota of a job, and leaves; of jobs that queue."""
Cast = Literal["one replica", "two replicas", "two releases", "queues"]
AWAY = (
    "refused",
    "cut off",
    "slow",
    "answers lost",
    "429",
    "500",
    "503",
    "409",
    "watches cut",
    "watches silent",
    "410",
)
"""Trouble between an operator and the API server."""
WEATHER: dict[Cast, tuple[str, ...]] = {
    "one replica": ("killed", "stopped", "clock ahead", "clock behind", "API server restarted", *AWAY),
    "two replicas": ("killed", "stopped", "cut off", "clock ahead", "API server restarted"),
    "two releases": ("handed over", "handed over", "killed", *AWAY),
    "queues": ("killed", "stopped", "clock ahead", "clock behind", *AWAY),
}
"""What befalls operators and API server, by who plays the operator."""
CALM: dict[Cast, float] = {"one replica": 0.3, "two replicas": 0.7, "two releases": 0.2, "queues": 0.6}
"""Share of stories without: a leader is replaced after 15 s only, for all of the stories that are played then."""
ELASTIC = 0.2
"""Share of gangs that are elastic."""
Phase = Literal["Starting", "Training", "Evaluating"]
ENDED = frozenset({"Succeeded", "Failed"})
PHASES: tuple[Phase, ...] = ("Starting", "Training", "Evaluating")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens once the job is in a phase, after some seconds more."""

    phase: Phase
    seconds: float
    kind: str
    rank: int = 0
    is_weather: bool = False

    def __str__(self) -> str:
        who = "to the operator: " if self.is_weather else ""
        rank = f" pod {self.rank}" if self.kind in {*FAULTS, *TAKEN, "card fault", ROOM_LOST} else ""
        return f"in {self.phase} +{self.seconds:.2f}s: {who}{self.kind}{rank}"


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
    opening: str
    """Of a pod of the first attempt."""
    opening_rank: int
    events: tuple[Event, ...]
    min_replicas: int | None = None
    """Of an elastic job, which trains until it has been small and is of its full size again."""
    is_queued: bool = False
    """Whether it goes through Kueue, with a quota of its own size."""
    gives_up: float | None = None
    """After which ranks die of a peer's death; None: they wait for it."""

    @property
    def name(self) -> str:
        """Of its namespace."""
        return f"chaos-{self.seed}"

    @property
    def mishaps(self) -> tuple[Event, ...]:
        """What befalls the job."""
        return tuple(event for event in self.events if not event.is_weather)

    def __str__(self) -> str:
        kind = f"{'ascend' if self.is_ascend else 'cpu'}{', evaluated' if self.is_evaluated else ''}"
        head = f"seed {self.seed}: {self.replicas} pods x {self.devices}, {kind}, trains {self.trains_seconds:.2f} s"
        head += "" if self.min_replicas is None else f", at least {self.min_replicas} pods"
        head += "" if self.gives_up is None else f", peers die after {self.gives_up:.1f} s"
        head += ", queues" if self.is_queued else ""
        policy = f"backoffLimit {self.back_off_limit}, cleanPodPolicy {self.clean_pod_policy}"
        begins = [f"pod {self.opening_rank} begins: {self.opening}"] if self.opening != "as usual" else []
        return "\n  ".join([f"{head}, {policy}", *begins, *map(str, self.events)])


def draw(seed: int, cast: Cast = "one replica") -> Story:
    """The story of a seed: one mishap or two, perhaps an odd beginning, perhaps weather."""
    random = Random(f"chaos {seed} {cast}")
    replicas, is_ascend, is_evaluated = random.choice((1, 2, 2, 3)), random.random() < 0.6, random.random() < 0.5
    is_queued = cast == "queues"
    is_ascend = is_ascend or is_queued  # the quota is of cards
    phases: tuple[Phase, ...] = ("Starting", "Training", "Training", "Evaluating")[: 4 if is_evaluated else 3]
    kinds = random.choices([kind for kind in MISHAPS if is_ascend or kind not in OF_CARDS], k=random.choice((1, 1, 2)))
    events = [Event(random.choice(phases), random.random(), kind, random.randrange(replicas)) for kind in kinds]
    if random.random() >= CALM[cast]:
        weather = random.choice(WEATHER[cast])
        events.append(Event(random.choice(phases[:3]), random.random(), weather, is_weather=True))
    opening = "as usual"
    if random.random() < 0.3:
        opening = random.choice([name for name in OPENINGS if is_ascend or name not in OF_ASCEND])
    if is_queued:
        events.append(Event(random.choice(phases), random.random(), WITHDRAWN))
    min_replicas = random.randint(1, replicas - 1) if replicas > 1 and random.random() < ELASTIC else None
    if min_replicas is not None:
        loss = Event("Training", 0.5 + random.random(), ROOM_LOST, random.randrange(replicas))
        if opening == "out of sight":
            min_replicas = None  # nobody sees when such a gang trains and may lose room
        else:
            events.append(loss)
    return Story(
        min_replicas=min_replicas,
        is_queued=is_queued,
        gives_up=random.choice((None, None, 0.5 + random.random())),
        seed=seed,
        replicas=replicas,
        devices=random.choice((1, 2)),
        is_ascend=is_ascend,
        is_evaluated=is_evaluated,
        trains_seconds=1.0 + 1.5 * random.random(),
        back_off_limit=random.choice((0, 1, 3, 3)),
        clean_pod_policy=random.choice(("Running", "All", "None")),
        opening=opening,
        opening_rank=random.randrange(replicas),
        events=tuple(sorted(events, key=lambda event: PHASES.index(event.phase))),
    )
