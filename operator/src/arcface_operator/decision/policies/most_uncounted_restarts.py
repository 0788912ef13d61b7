"""The setting `mostUncountedRestarts`: how many restarts in a while are excused by faults of the infrastructure.

Any more count against backoffLimit until enough of them are past, so that nothing restarts for ever. A pod that made
room for others is not among them: its job waits for room again, which bounds nothing and holds nothing.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from arcface_operator.decision.context import DecisionContext, true_since
from arcface_operator.decision.fault_table.table import Blame, Remedy
from arcface_operator.decision.faults import Fault


def charged(context: DecisionContext, fault: Fault) -> tuple[DecisionContext, Fault]:
    """The fault as it counts, with the context that remembers it where it does not."""
    if fault.remedy is not Remedy.RESTART_FREE or fault.verdict.blame is Blame.QUEUE:
        return context, fault
    recent, settings = _recent(context), context.settings
    if len(recent) < settings.most_uncounted_restarts:
        return context.with_status(uncounted_restart_times=[*recent, context.now]), fault
    message = (
        f"{len(recent)} restarts within {settings.uncounted_restarts_seconds:g} s did not count; until they are past, "
        f"each counts against backoffLimit {context.spec.run_policy.backoff_limit}: {fault.failure.message}"
    )
    context = context.with_condition("RestartsCapped", truth=True, reason="TooManyRestarts", message=message)
    return context, replace(fault, verdict=replace(fault.verdict, remedy=Remedy.RESTART))


def settled(context: DecisionContext) -> DecisionContext:
    """The context without the condition once enough restarts are past."""
    if true_since(context.status, "RestartsCapped") is None:
        return context
    if len(_recent(context)) >= context.settings.most_uncounted_restarts:
        return context
    message = "faults of the infrastructure do not count again"
    return context.with_condition("RestartsCapped", truth=False, reason="Past", message=message)


def _recent(context: DecisionContext) -> list[datetime]:
    """Restarts that did not count and are not past yet."""
    since = context.now - timedelta(seconds=context.settings.uncounted_restarts_seconds)
    return [moment for moment in context.status.uncounted_restart_times if moment > since]
