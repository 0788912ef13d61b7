"""`spec.runPolicy.activeDeadlineSeconds`: the time with room for a whole gang, restarts and evaluation included.

It does not run while the job waits in a queue: whoever is first in line must not lose the time for it.
"""

from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import DecisionContext, room_since


def exceeded(context: DecisionContext) -> str | None:
    """Why the job fails, None while there is time or no bound."""
    limit = context.spec.run_policy.active_deadline_seconds
    if limit is None or context.status.start_time is None or _spent(context) < limit:
        return None
    return f"the job was not done after activeDeadlineSeconds {limit}"


def seconds_left(context: DecisionContext) -> float | None:
    """Time until it is over; None where it does not run."""
    limit = context.spec.run_policy.active_deadline_seconds
    if limit is None or room_since(context.status) is None:
        return None
    return max(0.0, limit - _spent(context))


def counted(before: DecisionContext, status: ArcFaceTrainingJobStatus) -> int:
    """Seconds to keep in a status that was decided: those of a gang that has just lost its room are added."""
    if room_since(before.status) is None or room_since(status) is not None:
        return status.active_seconds
    return status.active_seconds + int(_spent(before)) - before.status.active_seconds


def _spent(context: DecisionContext) -> float:
    """Seconds so far."""
    since = room_since(context.status)
    if since is None:
        return context.status.active_seconds
    running = context.now - max(since, context.status.start_time or since)
    return context.status.active_seconds + running.total_seconds()
