"""`spec.runPolicy.schedulingDeadlineSeconds`: how long a gang may wait for room; for ever unless it is given.

It waits from when the pods of before are gone, which hold the room until then. A gang that never had it, and lets go of
a part of it, waits on all the while.
"""

from datetime import datetime

from arcface_operator.decision.context import DecisionContext, condition, latest, room_since, waiting_since


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


def put_off(context: DecisionContext) -> DecisionContext:
    """The context of a gang whose room, so far as it had any, is still held by pods that are to leave."""
    if room_since(context.observed.job.status) is None and not _is_open(context):
        return context
    message = "pods of before are still to leave"
    return context.with_condition("Scheduled", truth=None, reason="PodsLeaving", message=message)


def begun(context: DecisionContext) -> DecisionContext:
    """The context of a gang that nothing of before keeps from room any more."""
    if not _is_open(context):
        return context
    message = "nothing is held by pods of before"
    return context.with_condition("Scheduled", truth=False, reason="Pending", message=message)


def _is_open(context: DecisionContext) -> bool:
    """Whether it is not said that the gang has room, nor that it has none."""
    return room_since(context.status) is None and waiting_since(context.status) is None


def _waiting_since(context: DecisionContext) -> datetime | None:
    """Since when the job waits; a pause by its user's wish is none of it."""
    since = waiting_since(context.status)
    return None if since is None else latest(since, context.status.start_time)
