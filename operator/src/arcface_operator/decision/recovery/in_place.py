"""The rung on which pods stay: their launchers start all ranks anew, rank 0 and MindSpore's scheduler included.

Nodes, cards, addresses, rank table and run configuration stay as they are.
"""

from datetime import datetime, timedelta

from arcface_api.contract.launcher_words import FETCH_SECONDS
from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, latest, true_since
from arcface_operator.decision.fault_table.table import NOT_LAUNCHED
from arcface_operator.decision.faults import Fault, fault_of
from arcface_operator.decision.plan import Plan
from arcface_operator.decision.recovery import calls, one_pod


def launch_again(context: DecisionContext) -> Plan:
    """The ranks of a gang that is being restarted are launched anew."""
    launched = context.with_status(launch=context.launch + 1, restarted_at=context.now)
    seconds = context.settings.starting_poll_seconds
    return Plan(status=launched.status, actions=calls.announcement(launched), look_again_seconds=seconds)


def not_launched(context: DecisionContext) -> Fault | None:
    """Launchers that do not come to the present launch in time, where that of pod 0 says so."""
    fetching = 0.0 if one_pod.present(context) is None else FETCH_SECONDS
    limit, since = context.settings.launch_seconds + fetching, _launched_since(context)
    if not context.launch or since is None or not context.is_past(since, limit):
        return None
    launched = _launched(context, since + timedelta(seconds=limit))
    if launched is None or launched >= context.gang_size:
        return None
    message = f"{launched} of {context.gang_size} pods have started their ranks anew within {limit:g} s"
    return fault_of(FailureStatus(reason=NOT_LAUNCHED, message=message))


def _launched_since(context: DecisionContext) -> datetime | None:
    """From when launchers have their time: not before they have a table."""
    table = true_since(context.status, "RankTableReady")
    if table is None and context.has_rank_table:
        return None
    return latest(context.status.restarted_at, context.observed.watched_since, table)


def _launched(context: DecisionContext, at: datetime) -> int | None:
    """Pods that have come to the present launch, as was said then or later; None where it was not.

    Silence is no evidence: what was said before may be the last that got through, and all have followed since.
    """
    heard = context.observed.words
    if heard is None or heard.last_at < at:
        return None
    return heard.gang.pods if heard.gang.launch == context.launch else 0
