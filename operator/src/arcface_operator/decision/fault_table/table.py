"""The one table of faults, for jobs of a cluster and of this machine: whose doing a fault is, and what follows. Pure.

`spec.runPolicy.failureRules` may have another remedy for a fault; whose doing it is stays as it is here. What befalls
pods has words, Kubernetes' and ours, which also stand in `status.failure.reason`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from arcface_api.errors import NEVER_RETRIED, ExitCode

POD_DELETED, POD_LOST, NODE_LOST = "PodDeleted", "PodLost", "NodeLost"
PARTLY_HELD, QUOTA_WITHDRAWN = "PartlyHeld", "QuotaWithdrawn"
STALLED, START_LATE, NO_REPORT = "Stalled", "StartupDeadlineExceeded", "NoReport"
DEVICE_FAULT = "DeviceFault"
NOT_LAUNCHED, NOT_REPLACED = "NotLaunched", "NotReplaced"
INIT_FAILED, POD_FAILED = "InitContainerFailed", "PodFailed"
"""Reasons of ours."""
BEFORE_MAIN = frozenset({INIT_FAILED, POD_FAILED})
"""Those of pods that failed by themselves before the main container ran."""
INCURABLE = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
"""Reasons for which a container waits that time alone never cures, as kubelets give them."""
UNSEEN = frozenset({"ContainerStatusUnknown", "Unknown"})
"""A kubelet's words for an end that it has not seen, such as that of a node which rebooted; the code is made up."""
MADE_ROOM = frozenset({"Preempted", "Preempting", "PreemptionByScheduler"})
"""Words of schedulers and kubelets for pods that made room for others of a higher priority."""
NODES_DOING = frozenset({"Evicted", "NodeShutdown", "Shutdown", "Terminated", "TerminationByKubelet"})
"""A kubelet's words for pods that it ended: the node is short of something, or goes down."""
NODES_ABSENCE = frozenset({NODE_LOST, "DeletionByTaintManager", "DeletionByPodGC"})
"""Controllers' words for pods whose node is gone or does not answer."""
DISRUPTIONS = MADE_ROOM | NODES_DOING | NODES_ABSENCE
"""What is said of a pod that others ended; kubelets before 1.26 set no DisruptionTarget beside it."""


class Remedy(Enum):
    """What is done about a fault."""

    FAIL = "fail"
    """No retry cures it."""
    RESTART = "restart"
    """Counted against backoffLimit."""
    RESTART_FREE = "restart free"
    """Not counted, while such restarts are few."""
    LET_GO = "let go"
    """Nothing has failed: what is held is given back, and asked for again later."""


class Blame(Enum):
    """Whose doing a fault is."""

    JOB = "job"
    """The job's by its own account; no other fault explains it."""
    QUEUE = "queue"
    """Nobody's: room is needed by others, or is not there yet."""
    CLUSTER = "cluster"
    NODE = "node"
    """Pods of the next attempts go elsewhere for a while, if they can."""
    PROGRAM = "program"
    """The program's until another fault explains it: peers of a pod that is lost die inside collectives."""


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One thing that went wrong, in the words of whoever saw it."""

    reason: str
    exit_code: int | None = None
    """Of a process of ours."""
    is_taken: bool = False
    """The cluster was about to end the pod, or somebody deletes it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is done about a fault, and whose doing it is."""

    remedy: Remedy
    blame: Blame
    is_refusal: bool = False
    """A kubelet would not have the pod."""


@dataclass(frozen=True)
class Row:
    """Faults that are treated alike; what a row does not name may be anything."""

    fault: str
    verdict: Verdict
    reasons: Collection[str] | None = None
    exit_codes: Collection[int | None] | None = None
    is_taken: bool = False

    def matches(self, symptom: Symptom) -> bool:
        """Whether a symptom is of this kind."""
        return (
            (self.reasons is None or symptom.reason in self.reasons)
            and (self.exit_codes is None or symptom.exit_code in self.exit_codes)
            and (symptom.is_taken or not self.is_taken)
        )


LETS_GO = Verdict(remedy=Remedy.LET_GO, blame=Blame.QUEUE)
FAILS = Verdict(remedy=Remedy.FAIL, blame=Blame.JOB)
OF_THE_QUEUE = Verdict(remedy=Remedy.RESTART_FREE, blame=Blame.QUEUE)
OF_THE_NODE = Verdict(remedy=Remedy.RESTART_FREE, blame=Blame.NODE)
OF_THE_CLUSTER = Verdict(remedy=Remedy.RESTART_FREE, blame=Blame.CLUSTER)
OF_THE_PROGRAM = Verdict(remedy=Remedy.RESTART, blame=Blame.PROGRAM)
REFUSED = Verdict(remedy=Remedy.RESTART_FREE, blame=Blame.NODE, is_refusal=True)

TABLE = (
    Row("bad input, or a loss that is no number any more", FAILS, exit_codes=NEVER_RETRIED),
    Row("a pod that can never start", FAILS, reasons=INCURABLE),
    Row("there is room for a part of the gang only", LETS_GO, reasons={PARTLY_HELD}),
    Row("quota that a queue takes back", LETS_GO, reasons={QUOTA_WITHDRAWN}),
    Row("a pod that made room for others", OF_THE_QUEUE, reasons=MADE_ROOM),
    Row("a node that is gone or does not answer", OF_THE_NODE, reasons=NODES_ABSENCE),
    Row("a card that MindX calls faulty", OF_THE_NODE, reasons={DEVICE_FAULT}),
    Row("a pod that its kubelet ended", OF_THE_NODE, reasons=NODES_DOING),
    Row("an end that the kubelet has not seen", OF_THE_NODE, reasons=UNSEEN),
    Row("a pod that the cluster ended, or somebody deleted", OF_THE_CLUSTER, is_taken=True),
    Row("a pod that is gone", OF_THE_CLUSTER, reasons={POD_LOST}),
    Row("a launcher that does not start its ranks anew", OF_THE_CLUSTER, reasons={NOT_LAUNCHED}),
    Row("a pod that another one does not take the place of", OF_THE_CLUSTER, reasons={NOT_REPLACED}),
    Row("stopped, and nobody says why", OF_THE_CLUSTER, exit_codes={ExitCode.STOPPED}),
    Row("an init container that failed, or a pod of which nobody says why", OF_THE_PROGRAM, reasons=BEFORE_MAIN),
    Row("ranks that do not start or get nowhere", OF_THE_PROGRAM, reasons={START_LATE, STALLED}),
    Row("an end with exit code 0 before the last step", OF_THE_PROGRAM, reasons={NO_REPORT}),
    Row("a pod that its kubelet would not have", REFUSED, exit_codes={None}),
    Row("any other exit code", OF_THE_PROGRAM),
)
"""The first row that matches decides."""


def verdict_on(symptom: Symptom) -> Verdict:
    """What follows from a symptom."""
    return next(row.verdict for row in TABLE if row.matches(symptom))
