"""`spec.runPolicy.backoffLimit`: how many restarts after faults of the program each stage of a job has."""

from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import Remedy
from arcface_operator.decision.faults import Fault


def exceeded(context: DecisionContext, fault: Fault) -> str | None:
    """Why the job fails, None while another restart is left, or where this one does not count."""
    limit = context.spec.run_policy.backoff_limit
    if fault.remedy is not Remedy.RESTART or context.status.counted_restarts - context.status.forgiven_restarts < limit:
        return None
    return f"backoffLimit {limit} is used up: {fault.failure.message}"
