"""Taking pods away: gracefully, and by force where their node is gone."""

from collections.abc import Sequence

from arcface_api.contract.rank_table import INITIALIZING
from arcface_operator.decision.context import Case
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Apply, Delete
from arcface_operator.manifests.rank_table_map import build_rank_table_map


def removal(case: Case, pods: Sequence[PodView]) -> tuple[Action, ...]:
    """Deletion of the pods, the rank table taken back first: nobody may start from a table with lost pods."""
    asked = [pod for pod in pods if not pod.is_leaving]
    stuck = [pod for pod in pods if is_stuck(case, pod)]
    deletions = [
        *(Delete(resource="pods", name=pod.name, uid=pod.uid) for pod in asked),
        *(Delete(resource="pods", name=pod.name, uid=pod.uid, is_forced=True) for pod in stuck),
    ]
    if asked and case.has_rank_table:
        return (Apply(build_rank_table_map(case.job, INITIALIZING, case.now, case.settings)), *deletions)
    return tuple(deletions)


def is_overdue(case: Case, pod: PodView) -> bool:
    """Whether a pod should have left long ago."""
    return case.is_past(pod.leaves_at, case.settings.force_delete_seconds)


def is_stuck(case: Case, pod: PodView) -> bool:
    """Whether nobody is there any more who could confirm that the pod has left."""
    return is_overdue(case, pod) and (pod.node is None or pod.node in case.seen.lost_nodes)


def removal_seconds(case: Case, pods: Sequence[PodView]) -> float | None:
    """When to see whether a leaving pod has become overdue."""
    if any(is_overdue(case, pod) for pod in pods):
        return case.settings.check_seconds
    return min(
        (left for pod in pods if (left := case.seconds_left(pod.leaves_at, case.settings.force_delete_seconds))),
        default=None,
    )
