"""`spec.runPolicy.stallSeconds`: how long a gang that trains may make no step."""

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, latest, true_since
from arcface_operator.decision.faults import Fault


def stall(context: DecisionContext) -> Fault | None:
    """A gang that makes no step any more."""
    limit, progress = context.spec.run_policy.stall_seconds, context.status.progress
    moved = progress.updated_at if progress is not None else None
    since = latest(true_since(context.status, "Training"), moved, context.observed.watched_since)
    if not context.is_past(since, limit):
        return None
    step = progress.step if progress is not None else 0
    rank = progress.slowest_rank if progress is not None else None
    message = f"no new step for stallSeconds {limit} after step {step}"
    return Fault(failure=FailureStatus(reason="Stalled", message=message, rank=rank))
