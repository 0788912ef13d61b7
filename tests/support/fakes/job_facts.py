"""All that befalls a job, each once and one at a time, and how it must end for that."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from support.builders.views import evaluator_report
from support.fakes.cluster_world import World

TROUBLES: dict[str, Callable[[World, str], World]] = {
    "error": lambda world, name: world.exited(name, 1, "Traceback\nValueError: x"),
    "killed": lambda world, name: world.exited(name, 137),
    "invalid": lambda world, name: world.exited(name, 2),
    "diverged": lambda world, name: world.exited(name, 3),
    "stopped": lambda world, name: world.exited(name, 143),
    "evicted": lambda world, name: world.evicted(name),
    "vanished": lambda world, name: world.pod_gone(name),
    "deleted": lambda world, name: world.pod_deleted(name),
    "node lost": lambda world, name: replace(
        world.pod_deleted(name), lost_nodes=world.lost_nodes | {world.pods[name]["spec"]["nodeName"]}
    ),
}
"""The last: a node dies and the cluster wants its pod away, but nobody is there to confirm that it has left."""
COUNTED, FINAL = {"error", "killed"}, {"invalid": "InvalidInput", "diverged": "Diverged"}
VERDICTS = {
    "passes": (0, evaluator_report(0.995), "Succeeded"),
    "misses": (0, evaluator_report(0.5), "GateMissed"),
    "fails": (2, "no lfw.bin", "EvaluationFailed"),
}


@dataclass(frozen=True)
class Trouble:
    """Something that befalls one rank pod, and what its peer makes of it once they have met."""

    kind: str
    victim: int
    peer: str
    """Dies not at all, before or after its cause shows."""


@dataclass(frozen=True)
class Facts:
    """All that befalls a job."""

    troubles: tuple[Trouble, ...]
    verdict: str = "passes"
    backoff_limit: int = 2
    is_ascend: bool = False
    evaluators: tuple[str, ...] = ()
    """What befalls the evaluator, one after the other."""
    is_paused: bool = False
    """Whether the user suspends the job while it is evaluated, and resumes it."""

    def end(self) -> tuple[str, int]:
        """How the job must end: the reason, and restarts that count."""
        counted = 0
        for trouble in self.troubles:
            if trouble.kind in FINAL:
                return FINAL[trouble.kind], counted
            if trouble.kind in COUNTED:
                if counted == self.backoff_limit:
                    return "BackoffLimitExceeded", counted
                counted += 1
        return self.end_of_evaluation(counted)

    def end_of_evaluation(self, before: int) -> tuple[str, int]:
        """The same of the second stage, which has restarts of its own."""
        counted = 0
        for kind in self.evaluators:
            if kind in FINAL or (kind in COUNTED and counted == self.backoff_limit):
                return "EvaluationFailed", before + counted
            counted += kind in COUNTED
        return VERDICTS[self.verdict][2], before + counted
