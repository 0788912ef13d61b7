"""`spec.workers.minReplicas`: with how many pods a gang goes on that has lost some for good, and when it grows again.

Going small and large again costs two restarts of the gang, waiting costs all of its devices. Who waits about as long as
the two restarts take, and then goes on with fewer, never loses more than twice what he would who knew how long the room
is away (the ski rental problem): two restarts of a minute each are the default of `shrinkSeconds`.

For how many there is room again is told by spare pods (`manifests.worker_pod`): they are placed as rank pods would be
and do nothing. None of them holds devices for long: the gang takes what they have got once all of them have room, or a
while after the first one has it, since nodes that went together come back together.
"""

from datetime import datetime

from arcface_operator.decision.context import DecisionContext, false_since, room_since
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.stages import TRAINING

GATHERING_SECONDS = 30.0
"""From the first spare pod that has room until the others are waited for no longer."""


def fewer(context: DecisionContext) -> int | None:
    """Pods to go on with where there is no room for all of them; None while all are waited for, or too few have it."""
    waiting = [pod for pod in context.pods if pod.waits_for_room]
    placed = context.gang_size - len(waiting)
    is_late = context.is_past(_asked_since(context), _patience(context))
    is_enough = placed >= (context.spec.workers.min_replicas or context.gang_size)
    return placed if is_late and is_enough and all(pod.is_without_room for pod in waiting) else None


def seconds_left(context: DecisionContext) -> float | None:
    """Time until less room than for all pods will do; None where it never does, or does already."""
    return context.seconds_left(_asked_since(context), _patience(context)) or None


def _asked_since(context: DecisionContext) -> datetime | None:
    """Since when all pods of an attempt wait for room; None where a gang waits as long as it takes.

    One that has not trained yet has lost nothing.
    """
    is_elastic = context.spec.workers.is_elastic and context.stage is TRAINING and context.status.progress is not None
    if not is_elastic or context.missing_pod is not None or not any(pod.waits_for_room for pod in context.pods):
        return None
    return max(pod.created for pod in context.pods)


def _patience(context: DecisionContext) -> float:
    """Seconds to wait; part of a gang is let go in the end, and what it held is known no more."""
    return min(context.settings.shrink_seconds, context.settings.partial_gang_seconds)


def more(context: DecisionContext) -> int | None:
    """Pods that there is room for by now, None where it is for no more than the gang has, or others are waited for."""
    lacking, spare = _lacking(context), context.spare_pods
    placed = [pod for pod in spare if pod.index in lacking and _is_placed(context, pod)]
    first = min((pod.scheduled_at for pod in placed if pod.scheduled_at is not None), default=None)
    is_looked_at = all(pod.is_without_room for pod in spare if pod.waits_for_room)
    is_late = is_looked_at and context.is_past(first, GATHERING_SECONDS)
    return context.gang_size + len(placed) if placed and (is_late or len(placed) == len(lacking)) else None


def _is_placed(context: DecisionContext, pod: PodView) -> bool:
    """Whether a spare pod has got room, on a node that answers."""
    has_node = pod.node is not None and pod.node not in context.observed.lost_nodes
    return has_node and pod.ended is None and not pod.is_leaving


def missing_spares(context: DecisionContext) -> list[int]:
    """Indices of rank pods for which room is to be looked for, by spare pods that are not there yet."""
    there = {pod.index for pod in context.spare_pods}
    return [index for index in _lacking(context) if index not in there]


def idle_spares(context: DecisionContext) -> list[PodView]:
    """Spare pods that show nothing: on a lost node, or at an end, and have left their node in peace for a while."""
    limit, lost, pods = context.settings.partial_gang_seconds, context.observed.lost_nodes, context.spare_pods
    if context.stage is not TRAINING:
        return []
    over = [pod for pod in pods if pod.ended is not None and context.is_past(pod.created, limit)]
    ended = over if context.status.phase == TRAINING.at_work else []
    return [pod for pod in pods if pod.node in lost or pod in ended]


def _lacking(context: DecisionContext) -> range:
    """Indices of the rank pods that a gang does without, once it has been of its size for a while."""
    size, workers = context.status.elastic, context.spec.workers
    is_settled = size is not None and context.is_past(size.changed_at, context.settings.grow_seconds)
    if context.stage is not TRAINING or not is_settled:
        return range(0)
    return range(context.gang_size, workers.replicas)


def with_size(context: DecisionContext) -> DecisionContext:
    """The context with a word on the size of a gang that has once been smaller than it should be."""
    size, full = context.status.elastic, context.spec.workers.replicas
    if size is None:
        return context
    goes_on = context.stage is TRAINING and context.status.completion_time is None
    if not goes_on and false_since(context.status, "FullSize") is None:
        return context
    pods = context.gang_size if context.stage is TRAINING else size.pods
    if pods == full:
        has_room = room_since(context.status) is not None
        message = f"{full} of {full} pods" if has_room else f"waiting for room for {full} of {full} pods"
        return context.with_condition("FullSize", truth=has_room or None, reason="AllPods", message=message)
    message = f"{pods} of {full} pods since {size.changed_at:%Y-%m-%dT%H:%M:%SZ}"
    waits = f"; waiting for room for {full - pods} more" if goes_on else ""
    return context.with_condition("FullSize", truth=False, reason="FewerPods", message=f"{message}{waits}")
