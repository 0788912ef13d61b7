"""The setting `avoidNodeSeconds`: how long a job's pods go elsewhere after a fault that was blamed on their node."""

from arcface_api.resource.status import MOST_AVOIDED_NODES, AvoidedNode
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import Blame
from arcface_operator.decision.faults import Fault


def noted(context: DecisionContext, fault: Fault) -> DecisionContext:
    """The context that remembers the node where the fault is its doing; the oldest gives way to the newest."""
    failure, others = fault.failure, _avoided(context)
    if fault.verdict.blame is not Blame.NODE or failure.node is None:
        return context.with_status(avoided_nodes=others)
    others = [node for node in others if node.name != failure.node][-(MOST_AVOIDED_NODES - 1) :]
    node = AvoidedNode(name=failure.node, reason=failure.reason, since=context.now)
    return context.with_status(avoided_nodes=[*others, node])


def names(context: DecisionContext) -> tuple[str, ...]:
    """Nodes to stay away from."""
    return tuple(node.name for node in _avoided(context))


def _avoided(context: DecisionContext) -> list[AvoidedNode]:
    """Those whose time is not over."""
    limit = context.settings.avoid_node_seconds
    return [node for node in context.status.avoided_nodes if not context.is_past(node.since, limit)]
