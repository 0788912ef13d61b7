"""The rung on which one pod is made anew: the others stay, end their ranks, and start them with those of the new pod.

`status.replacement` says which pod, and for which launch. That one leaves as pods of an attempt before do, by force
where its node is lost, and its name is free only then: there are never two pods of one place. The new one is made for
that launch. Until the ranks work again, whatever else befalls the gang has all pods made anew, and what may be a
consequence of the loss is not counted a second time.
"""

from dataclasses import replace
from datetime import datetime

from arcface_api.contract import launcher_words, pod_environment
from arcface_api.resource.status import FailureStatus, Replacement
from arcface_operator.decision import stages
from arcface_operator.decision.context import ROOM, DecisionContext, latest
from arcface_operator.decision.fault_table.table import NOT_REPLACED, Blame, Remedy
from arcface_operator.decision.faults import Fault, fault_of, one_line
from arcface_operator.decision.observation import PodView

REPLACING = "Replacing"
"""Reason of conditions meanwhile."""
OPEN_GANGS = frozenset({"none", "kueue", "native", "coscheduling"})
"""Values of `scheduling.gang` with which a pod may join others that have nodes.

Kueue admits a Workload of ours once, and pods within it are an ordinary scheduler's. The gangs of kube-scheduler 1.36
(`gangscheduling.go`, PreEnqueue and Permit) and the coscheduling plugin 0.34 (`core.go`, PreFilter and Permit) count
the pods that are there, and those that have nodes, against the least number: the others and the new one suffice.
Volcano is left out: what Ascend's plugin for it makes of a part of a job was not found out.
"""


def lost_alone(context: DecisionContext, fault: Fault) -> int | None:
    """Place of the only pod that does not go on, where another one may take it; None where it is otherwise."""
    takes_none = context.stage is not stages.TRAINING or context.spec.scheduling.gang not in OPEN_GANGS
    if takes_none or context.gang_size == 1 or not context.settings.replace_seconds:
        return None
    going_on = {pod.index for pod in context.pods if _goes_on(context, pod, fault)}
    lost = [index for index in range(context.gang_size) if index not in going_on]
    return lost[0] if len(lost) == 1 else None


def _goes_on(context: DecisionContext, pod: PodView, fault: Fault) -> bool:
    """Whether a pod is there and well, and so is its node, as far as that has been looked at."""
    is_blamed = fault.verdict.blame is Blame.NODE and fault.failure.pod == pod.name
    return pod.goes_on and not is_blamed and pod.node not in context.observed.lost_nodes


def begun(context: DecisionContext, place: int) -> DecisionContext:
    """The context of a gang that is being restarted, in which the pod of a place is to be made anew."""
    launch, why = context.launch + 1, f"pod {context.pod_name(place)} is made anew"
    for kind in (*ROOM, "RankTableReady") if context.has_rank_table else ROOM:
        context = context.with_condition(kind, truth=False, reason=REPLACING, message=why)
    replacement = Replacement(pod=place, launch=launch)
    return context.with_status(launch=launch, replacement=replacement, restarted_at=context.now, rank_table=None)


def present(context: DecisionContext) -> Replacement | None:
    """The replacement that the present launch is about; None where that is another's."""
    found = context.status.replacement
    return found if found is not None and found.launch == context.launch else None


def is_under_way(context: DecisionContext) -> bool:
    """Whether a gang waits for its new pod."""
    return context.status.phase == "Restarting" and present(context) is not None


def replaced(context: DecisionContext) -> tuple[PodView, ...]:
    """The pod of before, while it is there."""
    found = present(context) if is_under_way(context) else None
    if found is None:
        return ()
    return tuple(pod for pod in context.pods if pod.index == found.pod and launch_of(pod) < found.launch)


def launch_of(pod: PodView) -> int:
    """The launch that a pod has been called to."""
    return launcher_words.LaunchCall.parse(pod.annotations.get(pod_environment.LAUNCH_ANNOTATION, "")).launch


def may_still_save(context: DecisionContext) -> bool:
    """Whether the pod of before was asked to leave and its ranks may save with all others: none has been called yet."""
    if any(launch_of(pod) == context.launch for pod in context.pods):
        return False
    lost = context.observed.lost_nodes
    return any(
        pod.is_leaving and pod.ended is None and pod.node not in lost and not context.is_past(pod.leaves_at, 0)
        for pod in replaced(context)
    )


def without_replaced(context: DecisionContext) -> DecisionContext:
    """The context without the pod of before; only to judge the others by."""
    gone = {pod.uid for pod in replaced(context)}
    pods = tuple(pod for pod in context.observed.pods if pod.uid not in gone)
    return replace(context, observed=replace(context.observed, pods=pods))


def missing_other(context: DecisionContext) -> int | None:
    """Place of a pod that is gone beside the one that is made anew."""
    there, found = {pod.index for pod in context.pods}, present(context)
    places = (index for index in range(context.gang_size) if index not in there)
    return next((index for index in places if found is None or index != found.pod), None)


def awaited(context: DecisionContext) -> str | None:
    """What keeps the new pod from running; None once it runs."""
    found, gone = present(context), replaced(context)
    name = "" if found is None else context.pod_name(found.pod)
    if gone:
        return f"pod {name} is to leave before it is made anew"
    pod = next((pod for pod in context.pods if found is not None and pod.index == found.pod), None)
    if pod is not None:
        return None if pod.phase == "Running" else f"pod {name}: {pod.waiting or 'not looked at by its scheduler yet'}"
    refusal = context.observed.refusal
    return f"no pod {name}" + ("" if refusal is None else f": {refusal.message}")


def late(context: DecisionContext) -> Fault | None:
    """A new pod that does not run in time, and why, or whose peers have come to the end of the training."""
    limit, why = context.settings.replace_seconds, awaited(context)
    ended = next((pod for pod in without_replaced(context).pods if pod.ended is not None), None)
    if ended is not None:
        return _not_replaced(f"pod {ended.name} has ended meanwhile")
    if why is None or not context.is_past(_since(context), limit):
        return None
    return _not_replaced(f"no pod was made anew within {limit:g} s: {why}")


def seconds_left(context: DecisionContext) -> float | None:
    """Time until then."""
    return context.seconds_left(_since(context), context.settings.replace_seconds) if is_under_way(context) else None


def excused(context: DecisionContext, fault: Fault) -> Fault:
    """A fault of a gang that has not come to work since its loss; what counts may be the same one, seen again."""
    found = present(context)
    is_counted = fault.is_blamed and fault.remedy is Remedy.RESTART
    if found is None or not is_counted or context.status.phase == context.stage.at_work:
        return fault
    return _not_replaced(f"pod {context.pod_name(found.pod)} was made anew in vain: {fault.failure.message}")


def _since(context: DecisionContext) -> datetime | None:
    """From when the time counts: an operator that was away does not hold it against the pod."""
    return latest(context.status.restarted_at, context.observed.watched_since)


def _not_replaced(message: str) -> Fault:
    """All pods are made anew after all."""
    return fault_of(FailureStatus(reason=NOT_REPLACED, message=one_line(message)))
