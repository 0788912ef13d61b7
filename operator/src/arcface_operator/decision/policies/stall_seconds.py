"""`spec.runPolicy.stallSeconds`: how long a gang at work may get nowhere, by its own account.

It takes an answer to say so: a gang that nobody can reach may be anywhere.
"""

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, latest, true_since
from arcface_operator.decision.fault_table.table import STALLED
from arcface_operator.decision.faults import Fault, fault_of


def stalled_training(context: DecisionContext) -> Fault | None:
    """Ranks that make no step any more."""
    if context.observed.report is None:
        return None
    limit, progress = context.spec.run_policy.stall_seconds, context.status.progress
    moved = progress.updated_at if progress is not None else None
    since = latest(true_since(context.status, "Training"), moved, context.observed.watched_since)
    if not context.is_past(since, limit):
        return None
    step = progress.step if progress is not None else 0
    rank = progress.slowest_rank if progress is not None else None
    message = f"no new step for stallSeconds {limit} after step {step}"
    return fault_of(FailureStatus(reason=STALLED, message=message, rank=rank))


def stalled_evaluation(context: DecisionContext) -> Fault | None:
    """An evaluator that gets through no image any more; one that was never heard is not said to be idle."""
    limit, progress = context.spec.run_policy.stall_seconds, context.status.evaluation_progress
    if progress is None or context.observed.report is None:
        return None
    if not context.is_past(latest(progress.updated_at, context.observed.watched_since), limit):
        return None
    message = f"no image hashed or embedded for stallSeconds {limit} after {progress.images}"
    return fault_of(FailureStatus(reason=STALLED, message=message, pod=context.pod_name(0)))
