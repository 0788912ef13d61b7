"""Why a gang has to be restarted or given up: classification of ended, lost and idle pods."""

import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from arcface_api.contract.reports import REASONS, EvaluatorReport, Report, ReportedFailure, Standstill
from arcface_api.errors import NEVER_RETRIED, ExitCode
from arcface_api.resource.status import FailedDevice, FailureStatus
from arcface_operator.decision import device_annotation, stages
from arcface_operator.decision.fault_table import table
from arcface_operator.decision.fault_table.device_faults import DeviceFault
from arcface_operator.decision.observation import Ended, PodView

OUT_OF_MEMORY = "OOMKilled"
OWN_SIGNALS = frozenset({128 + number for number in (signal.SIGKILL, signal.SIGBUS)})
"""Exit codes of ranks that were ended for their own sake: MindSpore ends the peers of a dead rank by SIGTERM.

Memory that is used up ends a rank by SIGKILL, shared memory that is full by SIGBUS.
"""
CONSEQUENCES: frozenset[str] = frozenset({"RankDied", "Stalled"})
"""Reasons of reports that a launcher writes for a rank which says nothing itself."""
LOG_LINES = 20
LINE_LIMIT = 500
"""Characters of a log line that status keeps."""
REASON_LIMIT, MESSAGE_LIMIT = 128, 4096
"""Characters of what is said of a failure: a kubelet's message is no longer, a launcher's or a webhook's may be."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that ended an attempt."""

    failure: FailureStatus
    verdict: table.Verdict
    names_cause: bool = True
    """Whether it explains itself: it cannot be the consequence of another one."""
    origin: int | None = None
    """Rank on which it began, by the report of a pod that need not hold it: all ranks tell of one that diverged."""
    standstill: Standstill | None = None
    """What the rank did, where its launcher found it standing still: those of its peers do, too, since they wait."""

    @property
    def remedy(self) -> table.Remedy:
        """What is done about it."""
        return self.verdict.remedy

    @property
    def is_blamed(self) -> bool:
        """Whether it is held against the program and may yet turn out to be another's."""
        return self.verdict.blame is table.Blame.PROGRAM

    @property
    def may_be_a_cards(self) -> bool:
        """Whether a faulty card might be what the program died of."""
        return self.is_blamed and self.failure.reason not in {OUT_OF_MEMORY, *table.BEFORE_MAIN}


def fault_of(failure: FailureStatus) -> Fault:
    """The fault that is told by its reason alone."""
    return Fault(failure=failure, verdict=table.verdict_on(table.Symptom(reason=failure.reason)))


def pod_fault(pod: PodView, ranks_per_pod: int) -> Fault | None:
    """What a pod's state says against its gang, None while it is well."""
    if pod.ended is not None and pod.ended.exit_code != 0:
        return ended_fault(pod, pod.ended, ranks_per_pod)
    if pod.is_leaving and pod.ended is None:
        message = f"pod {pod.name} is being deleted" + (" by the cluster" if pod.is_disrupted else "")
        failure = digest(pod, ranks_per_pod, pod.reason or table.POD_DELETED, message)
        return Fault(failure=failure, verdict=table.verdict_on(table.Symptom(reason=failure.reason, is_taken=True)))
    return None


def ended_fault(pod: PodView, ended: Ended, ranks_per_pod: int) -> Fault:
    """The fault of a pod that ended with anything but success."""
    code, is_taken = ended.exit_code, pod.is_disrupted or pod.is_leaving
    if code is None:
        message = one_line(f"pod {pod.name} failed: {ended.reason}" + (f": {ended.message}" if ended.message else ""))
        failure = digest(pod, ranks_per_pod, ended.reason, message)
        return Fault(failure=failure, verdict=table.verdict_on(table.Symptom(reason=ended.reason, is_taken=is_taken)))
    reason = _reason_of(pod, ended, code)
    symptom = table.Symptom(reason=reason, exit_code=code, is_taken=is_taken)
    report = Report.parse(ended.message)
    told = None if report is None else report.failure
    return Fault(
        failure=_reported_failure(pod, ended, ranks_per_pod, reason, told),
        verdict=table.verdict_on(symptom),
        names_cause=is_taken or ended.reason in {OUT_OF_MEMORY, *table.UNSEEN} or _is_explained(code, told),
        origin=None if told is None else told.rank,
        standstill=None if told is None else told.standstill,
    )


def _is_explained(code: int, told: ReportedFailure | None) -> bool:
    """Whether a rank's end has a reason of its own: one that died of a lost peer says nothing, or dies by SIGTERM.

    A rank that makes no progress may wait for the one that does not. What is stopped was asked to by somebody.
    """
    if told is None:
        return code in {*NEVER_RETRIED, ExitCode.STOPPED}
    return code in NEVER_RETRIED or told.reason not in CONSEQUENCES or told.exit_code in OWN_SIGNALS


def located(fault: Fault, pods: Iterable[PodView], ranks_per_pod: int) -> Fault:
    """The fault with the pod of the gang that holds the rank on which it began, whichever of them told of it first."""
    origin = fault.origin
    if origin is None or fault.failure.rank is None:
        return fault
    holder = next((pod for pod in pods if pod.index == origin // ranks_per_pod), None)
    if holder is None:
        return fault
    place = {"rank": origin, "pod": holder.name, "node": holder.node}
    return replace(fault, failure=fault.failure.model_copy(update=place))


def card_fault(pod: PodView, ranks_per_pod: int, known: Collection[DeviceFault], annotation: str) -> Fault | None:
    """A fault of one of the pod's cards, by the annotation that names them, or of its node."""
    found = device_annotation.parse_configuration(pod.annotations.get(annotation, "{}"))
    cards = () if isinstance(found, str) else tuple(card.device_id for card in found.devices)
    fault = next((fault for fault in known if fault.befalls(cards)), None)
    if fault is None:
        return None
    subject = f"card {fault.card} of node {pod.node}" if fault.card else f"node {pod.node}"
    message = f"{subject} is faulty: code {fault.code or 'unknown'}, level {fault.level}"
    device = FailedDevice(card=fault.card, code=fault.code, level=fault.level)
    return fault_of(digest(pod, ranks_per_pod, table.DEVICE_FAULT, message).model_copy(update={"device": device}))


def _reason_of(pod: PodView, ended: Ended, code: int) -> str:
    """Why a process ended, by what is known without its report."""
    if code in NEVER_RETRIED:
        return REASONS[ExitCode(code)]
    if ended.reason in table.UNSEEN:
        return ended.reason
    is_stopped = pod.is_disrupted or pod.is_leaving or code == ExitCode.STOPPED
    return pod.reason or "Disrupted" if is_stopped else "Error"


def _reported_failure(
    pod: PodView, ended: Ended, ranks_per_pod: int, reason: str, told: ReportedFailure | None
) -> FailureStatus:
    """The digest of a pod with an exit code: what its report says, else what the kubelet kept of its log."""
    if ended.reason == OUT_OF_MEMORY:
        reason = OUT_OF_MEMORY
    elif told is not None and reason == "Error":
        reason = told.reason
    if told is not None:
        message, log, rank = told.message, told.log, told.rank
    else:
        log, rank = [] if _is_results(ended.message) else ended.message.splitlines(), None
        last = next((line for line in reversed(log) if line.strip()), None)
        message = f"exit code {ended.exit_code}" + (f": {last}" if last is not None else "")
    found = digest(pod, ranks_per_pod, reason, f"pod {pod.name}: {one_line(message)}")
    kept = [line[:LINE_LIMIT] for line in log[-LOG_LINES:]]
    is_own = found.rank is not None and rank is not None and found.rank <= rank < found.rank + ranks_per_pod
    return found.model_copy(update={"exit_code": ended.exit_code, "log": kept, "rank": rank if is_own else found.rank})


def _is_results(message: str) -> bool:
    """Whether it is what an evaluator had found when something ended it."""
    report = EvaluatorReport.parse(message)
    return report is not None and bool(report.results or report.ijb)


def digest(pod: PodView, ranks_per_pod: int, reason: str, message: str) -> FailureStatus:
    """What is known of every pod that something is wrong with."""
    rank = max(pod.index, 0) * ranks_per_pod if pod.component == stages.TRAINING.component else None
    return FailureStatus(reason=reason[:REASON_LIMIT], message=message, rank=rank, pod=pod.name, node=pod.node)


def one_line(text: str) -> str:
    """Text from outside without line breaks, as far as a status keeps it."""
    return " ".join(text.split())[:MESSAGE_LIMIT]


def worst(faults: Iterable[tuple[PodView, Fault]]) -> Fault | None:
    """The fault to act on: the job's own, then another's than the program's, then one that no retry cures.

    A pod that was disrupted explains the failures of its peers, who die inside collectives because of it. What may be
    such a consequence comes last, and of that what was only stopped. Among equals the first in time counts, lowest rank
    first; of ranks that stand still the one that the others wait for, since all are found in the same second.
    """
    ordered = sorted(faults, key=lambda item: (_weight(item[1]), _time_and_place(item[0])))
    if not ordered:
        return None
    first = ordered[0][1]
    still = [
        (fault.standstill.order, fault)
        for _, fault in ordered
        if fault.standstill is not None and _weight(fault) == _weight(first)
    ]
    return first if first.standstill is None else min(still, key=lambda found: found[0])[1]


def _weight(fault: Fault) -> tuple[bool, bool, bool, bool]:
    is_other = fault.is_blamed == fault.names_cause
    is_jobs = fault.verdict.blame is table.Blame.JOB
    return not is_jobs, not fault.names_cause, is_other, fault.remedy is not table.Remedy.FAIL


def _time_and_place(pod: PodView) -> tuple[float, int]:
    ended = None if pod.ended is None else pod.ended.at
    return ended.timestamp() if ended else 0.0, pod.index
