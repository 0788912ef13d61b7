"""The rung on which pods stay: their launchers start all ranks anew, rank 0 and MindSpore's scheduler included.

Nodes, cards, addresses, rank table and run configuration stay as they are.
"""

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, latest, true_since
from arcface_operator.decision.fault_table.table import NOT_LAUNCHED
from arcface_operator.decision.faults import Fault, fault_of
from arcface_operator.decision.plan import Plan
from arcface_operator.decision.recovery import calls


def launch_again(context: DecisionContext) -> Plan:
    """The ranks of a gang that is being restarted are launched anew."""
    launched = context.with_status(launch=context.launch + 1, restarted_at=context.now)
    seconds = context.settings.starting_poll_seconds
    return Plan(status=launched.status, actions=calls.announcement(launched), look_again_seconds=seconds)


def not_launched(context: DecisionContext) -> Fault | None:
    """Launchers that do not come to the present launch, as far as that of pod 0 tells; not before they have a table."""
    limit, heard, table = (
        context.settings.launch_seconds,
        context.observed.words,
        true_since(context.status, "RankTableReady"),
    )
    since = latest(context.status.restarted_at, context.observed.watched_since, table)
    waits = table is None and context.has_rank_table
    if not context.launch or waits or not context.is_past(since, limit):
        return None
    launched = heard.gang.pods if heard is not None and heard.gang.launch == context.launch else 0
    if launched >= context.gang_size:
        return None
    message = f"{launched} of {context.gang_size} pods have started their ranks anew within {limit:g} s"
    return fault_of(FailureStatus(reason=NOT_LAUNCHED, message=message))
