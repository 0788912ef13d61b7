"""`spec.runPolicy.activeDeadlineSeconds`: the time of the whole job, restarts and evaluation included."""

from datetime import datetime

from arcface_operator.decision.context import DecisionContext


def exceeded(context: DecisionContext) -> str | None:
    """Why the job fails, None while there is time or no bound."""
    limit = context.spec.run_policy.active_deadline_seconds
    if not context.is_past(context.status.start_time, limit):
        return None
    return f"the job was not done after activeDeadlineSeconds {limit}"


def seconds_left(context: DecisionContext, start_time: datetime | None) -> float | None:
    """Time until it is over; None where it is not running."""
    return context.seconds_left(start_time, context.spec.run_policy.active_deadline_seconds)
