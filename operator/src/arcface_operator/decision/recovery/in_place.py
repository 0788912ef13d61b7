"""The rung on which pods stay: their launchers start all ranks anew, rank 0 and MindSpore's scheduler included.

The number of the launch reaches pods by an annotation, as the scheduler's address does. Nodes, cards, addresses, rank
table and run configuration stay as they are.
"""

from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext, latest
from arcface_operator.decision.fault_table.table import NOT_LAUNCHED
from arcface_operator.decision.faults import Fault, fault_of
from arcface_operator.decision.plan import Action, Annotate, Plan


def launch_again(context: DecisionContext) -> Plan:
    """The ranks of a gang that is being restarted are launched anew."""
    launched = context.with_status(launch=context.launch + 1, restarted_at=context.now)
    seconds = context.settings.starting_poll_seconds
    return Plan(status=launched.status, actions=announcement(launched), look_again_seconds=seconds)


def announcement(context: DecisionContext) -> tuple[Action, ...]:
    """Tell the pods of the present launch that do not know of it."""
    if not context.launch:
        return ()
    told = {LAUNCH_ANNOTATION: str(context.launch)}
    return tuple(
        Annotate(name=pod.name, uid=pod.uid, annotations=told, condition="Training")
        for pod in context.pods
        if pod.ended is None and pod.annotations.get(LAUNCH_ANNOTATION) != told[LAUNCH_ANNOTATION]
    )


def not_launched(context: DecisionContext) -> Fault | None:
    """Launchers that do not come to the present launch, as far as that of pod 0 tells."""
    limit, heard = context.settings.launch_seconds, context.observed.words
    since = latest(context.status.restarted_at, context.observed.watched_since)
    if not context.launch or not context.is_past(since, limit):
        return None
    launched = heard.gang.pods if heard is not None and heard.gang.launch == context.launch else 0
    if launched >= context.gang_size:
        return None
    message = f"{launched} of {context.gang_size} pods have started their ranks anew within {limit:g} s"
    return fault_of(FailureStatus(reason=NOT_LAUNCHED, message=message))
