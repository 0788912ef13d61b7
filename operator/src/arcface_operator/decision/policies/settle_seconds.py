"""The setting `settleSeconds`: how long the peers of a failed pod get to end, one of which may tell the cause.

The first to fail is not always the one that explains it. Where a pod says itself why it ended, nobody is waited for.
"""

from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.faults import Fault


def seconds_left(context: DecisionContext, fault: Fault) -> float | None:
    """Time left for the pods to end by themselves; None where there is nothing to wait for."""
    if fault.names_cause or all(pod.ended is not None for pod in context.pods):
        return None
    return left_since_the_first_end(context, context.settings.settle_seconds)


def left_since_the_first_end(context: DecisionContext, limit: float) -> float | None:
    """Time left of a limit that began when the first pod failed; None where none has, or nobody says when."""
    ended = [pod.ended for pod in context.pods if pod.ended is not None and pod.ended.exit_code != 0]
    left = context.seconds_left(min((end.at for end in ended if end.at is not None), default=None), limit)
    # A node whose clock is far ahead of ours must not hold the others up.
    return None if left is None or left > 2 * limit else left
