"""`spec.runPolicy.startupDeadlineSeconds`: how long a gang, and later the evaluator, may take to start."""

from datetime import datetime

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, condition, latest, true_since
from arcface_operator.decision.faults import Fault
from arcface_operator.decision.observation import PodView
from arcface_operator.manifests.metadata import worker_name

REASON = "StartupDeadlineExceeded"
UNUSABLE = "DevicesUnusable"
"""Reason of the condition RankTableReady where waiting alone will not complete the table."""


def late_gang(context: DecisionContext) -> Fault | None:
    """A gang that should train by now, and what it waits for."""
    limit = context.spec.run_policy.startup_deadline_seconds
    waiting = next((pod for pod in context.workers if not pod.is_ready), None)
    # Of ranks that run it is known only since somebody asks them.
    since = latest(_admitted_at(context), context.observed.watched_since if waiting is None else None)
    if any(pod.is_gated for pod in context.workers) or not context.is_past(since, limit):
        return None
    pod = waiting or context.workers[0]
    message = f"training has not begun after startupDeadlineSeconds {limit}: {_awaited(context, pod)}"
    return Fault(failure=FailureStatus(reason=REASON, message=message, pod=pod.name, node=pod.node))


def late_evaluator(
    context: DecisionContext, since: datetime | None, pod: PodView | None, why: str
) -> FailureStatus | None:
    """An evaluator that should run by now.

    Args:
        context: of the job.
        since: when its pod was made or, without one, since when there is none.
        pod: its newest pod.
        why: what it waits for.
    """
    limit = context.spec.run_policy.startup_deadline_seconds
    if not context.is_past(since, limit):
        return None
    message = f"the evaluation has not begun after startupDeadlineSeconds {limit}: {why}"
    name, node = (None, None) if pod is None else (pod.name, pod.node)
    return FailureStatus(reason=REASON, message=message, pod=name, node=node)


def _admitted_at(context: DecisionContext) -> datetime | None:
    """When the gang could have started: with its first pod, or once all were there and let in by their queue."""
    created = min((pod.created for pod in context.workers), default=None)
    return latest(created, true_since(context.status, "Ready"))


def _awaited(context: DecisionContext, pod: PodView) -> str:
    """What a gang waits for, with the pod that holds it up."""
    table, missing = context.status.rank_table, context.missing_worker
    if missing is not None:
        name = worker_name(context.job.metadata.name, missing)
        return f"there is no pod {name}: {context.observed.refusal or 'not created'}"
    if pod.waiting is None and table is not None and table.state == "initializing":
        ready = condition(context.status, "RankTableReady")
        if ready is not None and ready.reason == UNUSABLE:
            return f"there is no rank table: {ready.message}"
        return f"the rank table waits for {', '.join(table.missing) or 'the device plugin'}"
    return f"pod {pod.name}: {pod.waiting or 'rank 0 reports no progress'}"
