"""Why a gang has to be restarted or given up: classification of ended, lost and idle pods."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from arcface_api.contract.reports import REASONS, Report
from arcface_api.errors import NEVER_RETRIED, ExitCode
from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.observation import DISRUPTIONS, INIT_FAILED, POD_FAILED, Ended, PodView
from arcface_operator.decision.stages import TRAINING

OUT_OF_MEMORY = "OOMKilled"
UNSEEN = frozenset({"ContainerStatusUnknown", "Unknown"})
"""A kubelet's words for an end that it has not seen, such as that of a node which rebooted; the code is made up."""
LOG_LINES = 20
LINE_LIMIT = 500
"""Characters of a log line that status keeps."""


class Remedy(Enum):
    """What is done about a fault."""

    FAIL = "fail"
    """No retry cures it."""
    RESTART = "restart"
    """Counted against backoffLimit."""
    RESTART_FREE = "restart free"
    """The cluster's fault rather than the program's."""
    LET_GO = "let go"
    """Nothing has failed: what is held is given back, and asked for again later."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that ended an attempt."""

    failure: FailureStatus
    remedy: Remedy = Remedy.RESTART
    is_refusal: bool = False
    """Its kubelet would not have the pod."""

    @property
    def is_blamed(self) -> bool:
        """Whether it is held against the program and may yet turn out to be another's."""
        return self.remedy is Remedy.RESTART


def pod_fault(pod: PodView, ranks_per_pod: int) -> Fault | None:
    """What a pod's state says against its gang, None while it is well."""
    if pod.ended is not None and pod.ended.exit_code != 0:
        return ended_fault(pod, pod.ended, ranks_per_pod)
    if pod.is_leaving and pod.ended is None:
        message = f"pod {pod.name} is being deleted" + (" by the cluster" if pod.is_disrupted else "")
        return Fault(failure=digest(pod, ranks_per_pod, "PodDeleted", message), remedy=Remedy.RESTART_FREE)
    return None


def ended_fault(pod: PodView, ended: Ended, ranks_per_pod: int) -> Fault:
    """The fault of a pod that ended with anything but success."""
    code = ended.exit_code
    if code is None:
        return _fault_without_code(pod, ended, ranks_per_pod)
    if code in NEVER_RETRIED:
        failure = _reported_failure(pod, ended, ranks_per_pod, REASONS[ExitCode(code)])
        return Fault(failure=failure, remedy=Remedy.FAIL)
    if pod.is_disrupted or pod.is_leaving or code == ExitCode.STOPPED or ended.reason in UNSEEN:
        reason = ended.reason if ended.reason in UNSEEN else pod.reason or "Disrupted"
        failure = _reported_failure(pod, ended, ranks_per_pod, reason)
        return Fault(failure=failure, remedy=Remedy.RESTART_FREE)
    return Fault(failure=_reported_failure(pod, ended, ranks_per_pod, "Error"))


def _fault_without_code(pod: PodView, ended: Ended, ranks_per_pod: int) -> Fault:
    """The fault of a pod of which no process of ours ended."""
    message = one_line(f"pod {pod.name} failed: {ended.reason}" + (f": {ended.message}" if ended.message else ""))
    is_disrupted, is_own = pod.is_disrupted or pod.is_leaving, ended.reason in {INIT_FAILED, POD_FAILED}
    return Fault(
        failure=digest(pod, ranks_per_pod, ended.reason, message),
        remedy=Remedy.RESTART if is_own and not is_disrupted else Remedy.RESTART_FREE,
        is_refusal=not (is_own or is_disrupted or ended.reason in DISRUPTIONS),
    )


def _reported_failure(pod: PodView, ended: Ended, ranks_per_pod: int, reason: str) -> FailureStatus:
    """The digest of a pod with an exit code: what its report says, else what the kubelet kept of its log."""
    report = Report.parse(ended.message)
    told = None if report is None else report.failure
    if ended.reason == OUT_OF_MEMORY:
        reason = OUT_OF_MEMORY
    elif told is not None and reason == "Error":
        reason = told.reason
    if told is not None:
        message, log, rank = told.message, told.log, told.rank
    else:
        log, rank = ended.message.splitlines(), None
        last = next((line for line in reversed(log) if line.strip()), None)
        message = f"exit code {ended.exit_code}" + (f": {last}" if last is not None else "")
    found = digest(pod, ranks_per_pod, reason, f"pod {pod.name}: {one_line(message)}")
    kept = [line[:LINE_LIMIT] for line in log[-LOG_LINES:]]
    is_own = found.rank is not None and rank is not None and found.rank <= rank < found.rank + ranks_per_pod
    return found.model_copy(update={"exit_code": ended.exit_code, "log": kept, "rank": rank if is_own else found.rank})


def digest(pod: PodView, ranks_per_pod: int, reason: str, message: str) -> FailureStatus:
    """What is known of every pod that something is wrong with."""
    rank = max(pod.index, 0) * ranks_per_pod if pod.component == TRAINING.component else None
    return FailureStatus(reason=reason, message=message, rank=rank, pod=pod.name, node=pod.node)


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def worst(faults: Iterable[tuple[PodView, Fault]]) -> Fault | None:
    """The fault to act on: one that no retry cures, else the first in time, lowest rank first among equals.

    A pod that was disrupted explains the failures of its peers, who die inside collectives because of it.
    """

    def weight(item: tuple[PodView, Fault]) -> tuple[bool, bool, float, int]:
        pod, fault = item
        ended = None if pod.ended is None else pod.ended.at
        return (fault.remedy is not Remedy.FAIL, fault.is_blamed, ended.timestamp() if ended else 0.0, pod.index)

    ordered = sorted(faults, key=weight)
    return ordered[0][1] if ordered else None
