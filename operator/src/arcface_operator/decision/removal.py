"""Taking pods away: gracefully, and by force where their node is gone."""

from collections.abc import Sequence

from arcface_api.contract.rank_table import INITIALIZING
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Apply, Delete, earliest
from arcface_operator.manifests.config_maps import build_rank_table_map


def removal(context: DecisionContext, pods: Sequence[PodView]) -> tuple[Action, ...]:
    """Deletion of the pods, the rank table taken back first: nobody may start from a table with lost pods."""
    asked = [pod for pod in pods if not pod.is_leaving]
    stuck = [pod for pod in pods if _is_stuck(context, pod)]
    deletions = [
        *(Delete(resource="pods", name=pod.name, uid=pod.uid) for pod in asked),
        *(Delete(resource="pods", name=pod.name, uid=pod.uid, grace_seconds=0) for pod in stuck),
    ]
    if asked and context.has_rank_table:
        return (Apply(build_rank_table_map(context.job, INITIALIZING, context.now, context.settings)), *deletions)
    return tuple(deletions)


def is_overdue(context: DecisionContext, pod: PodView) -> bool:
    """Whether a pod should have left long ago."""
    return context.is_past(pod.leaves_at, context.settings.force_delete_seconds)


def _is_stuck(context: DecisionContext, pod: PodView) -> bool:
    """Whether nobody is there any more who could confirm that the pod has left."""
    return is_overdue(context, pod) and (pod.node is None or pod.node in context.observed.lost_nodes)


def removal_seconds(context: DecisionContext, pods: Sequence[PodView]) -> float | None:
    """When to see whether a leaving pod has become overdue."""
    if any(is_overdue(context, pod) for pod in pods):
        return context.settings.check_seconds
    return earliest(
        *(context.seconds_left(pod.leaves_at, context.settings.force_delete_seconds) or None for pod in pods)
    )
