"""`spec.runPolicy.startupDeadlineSeconds`: how long a gang may take to start once there is room for all of it.

Whether ranks that run have begun they alone can tell: where nobody can reach them, that limit is their own.
"""

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, condition, latest, room_since
from arcface_operator.decision.fault_table.table import START_LATE
from arcface_operator.decision.faults import Fault, fault_of
from arcface_operator.decision.observation import PodView

UNUSABLE = "DevicesUnusable"
"""Reason of the condition RankTableReady where waiting alone will not complete the table."""


def late_gang(context: DecisionContext) -> Fault | None:
    """A gang that should be at work by now, and what it waits for."""
    limit = context.spec.run_policy.startup_deadline_seconds
    waiting = next((pod for pod in context.pods if not pod.is_running and pod.ended is None), None)
    if waiting is None and not _is_known_to_wait(context):
        return None
    # Of ranks that run it is known only since somebody asks them.
    asked_since = context.observed.watched_since if waiting is None else None
    if not context.is_past(latest(room_since(context.status), context.status.restarted_at, asked_since), limit):
        return None
    pod = waiting or context.pods[0]
    message = f"{context.stage.work} has not begun after startupDeadlineSeconds {limit}: {_awaited(context, pod)}"
    return fault_of(FailureStatus(reason=START_LATE, message=message, pod=pod.name, node=pod.node))


def _is_known_to_wait(context: DecisionContext) -> bool:
    """Whether ranks that run cannot have begun: they have not got their table, or say so themselves."""
    table = context.status.rank_table
    return context.observed.report is not None or (table is not None and table.state == "initializing")


def _awaited(context: DecisionContext, pod: PodView) -> str:
    """What a gang waits for, with the pod that holds it up."""
    table = context.status.rank_table
    if pod.waiting is None and table is not None and table.state == "initializing":
        ready = condition(context.status, "RankTableReady")
        if ready is not None and ready.reason == UNUSABLE:
            return f"there is no rank table: {ready.message}"
        return f"the rank table waits for {table.missing_in_words or 'the device plugin'}"
    return f"pod {pod.name}: {pod.waiting or 'rank 0 reports no progress'}"
