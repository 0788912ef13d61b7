"""Whether there is room for a gang, what it waits for, and what it holds meanwhile. Waiting is not failing."""

from datetime import datetime

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import PARTLY_HELD
from arcface_operator.decision.faults import Fault, digest, fault_of, one_line
from arcface_operator.decision.plan import earliest


def is_whole(context: DecisionContext) -> bool:
    """Whether every pod of the gang is there and has a node, or has come to its end whatever it had."""
    return context.missing_pod is None and not any(pod.waits_for_room for pod in context.pods)


def awaited(context: DecisionContext) -> str:
    """What a gang waits for whose pods are all there, the first pod's reason in full."""
    waiting = [pod for pod in context.pods if pod.waits_for_room]
    first = waiting[0]
    why = first.waiting or "not looked at by its scheduler yet"
    return f"{len(waiting)} of {context.gang_size} pods have no node; pod {first.name}: {why}"


def held_too_long(context: DecisionContext) -> Fault | None:
    """A part of the gang that keeps others from what the rest of it has no room for."""
    limit = context.settings.partial_gang_seconds
    if not context.is_past(_held_since(context), limit):
        return None
    message = f"there was no room for the whole gang within {limit:g} s: {_lacking(context)}"
    return fault_of(FailureStatus(reason=PARTLY_HELD, message=one_line(message)))


def seconds_left(context: DecisionContext) -> float | None:
    """Time until what is held must be let go, or a pod is believed that can never start; None where neither is so."""
    settings, stuck = context.settings, min(context.observed.stuck_since.values(), default=None)
    return earliest(
        context.seconds_left(_held_since(context), settings.partial_gang_seconds),
        context.seconds_left(stuck, settings.incurable_seconds),
    )


def incurable(context: DecisionContext) -> Fault | None:
    """A pod that can never start, by its kubelet's account."""
    since, limit = context.observed.stuck_since, context.settings.incurable_seconds
    for pod in context.pods:
        if (reason := pod.stuck_for) is not None and context.is_past(since.get(pod.uid), limit):
            message = one_line(f"pod {pod.name} can never start: {pod.waiting}")
            ranks = context.stage.ranks_per_pod(context.spec)
            return fault_of(digest(pod, ranks, reason, message))
    return None


def _held_since(context: DecisionContext) -> datetime | None:
    """Since when a part of the gang has been given nodes or quota, and the rest has been refused them."""
    if context.missing_pod is not None:
        refusal, created = context.observed.refusal, [pod.created for pod in context.pods]
        if refusal is None or not created:
            return None
        # A server that is busy may take one pod after the other for as long as that takes.
        return min(created) if refusal.is_lasting else max(created)
    if is_whole(context):
        return None
    return min((pod.scheduled_at for pod in context.pods if pod.scheduled_at is not None), default=None)


def _lacking(context: DecisionContext) -> str:
    """What there was no room for."""
    missing = context.missing_pod
    if missing is None:
        return awaited(context)
    refusal = context.observed.refusal
    return f"no pod {context.pod_name(missing)}" + ("" if refusal is None else f": {refusal.message}")
