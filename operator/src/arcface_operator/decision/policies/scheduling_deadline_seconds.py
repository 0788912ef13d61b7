"""`spec.runPolicy.schedulingDeadlineSeconds`: how long a gang may wait for room; for ever unless it is given."""

from datetime import datetime

from arcface_operator.decision.context import DecisionContext, condition, latest, waiting_since


def exceeded(context: DecisionContext) -> str | None:
    """Why the job fails, None while there is time or no bound."""
    limit = context.spec.run_policy.scheduling_deadline_seconds
    if not context.is_past(_waiting_since(context), limit):
        return None
    ready = condition(context.status, "Ready")
    awaited = "" if ready is None else f": {ready.message}"
    return f"the gang had no room within schedulingDeadlineSeconds {limit}{awaited}"


def seconds_left(context: DecisionContext) -> float | None:
    """Time until then."""
    return context.seconds_left(_waiting_since(context), context.spec.run_policy.scheduling_deadline_seconds)


def _waiting_since(context: DecisionContext) -> datetime | None:
    """Since when the job waits; a pause by its user's wish is none of it."""
    since = waiting_since(context.status)
    return None if since is None else latest(since, context.status.start_time)
