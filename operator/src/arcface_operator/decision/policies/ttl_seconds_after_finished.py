"""`spec.runPolicy.ttlSecondsAfterFinished`: how long a job stays after its end; for ever unless it is given."""

from arcface_operator.decision.context import DecisionContext


def is_over(context: DecisionContext) -> bool:
    """Whether the job is to be deleted."""
    return context.is_past(context.status.completion_time, context.spec.run_policy.ttl_seconds_after_finished)


def seconds_left(context: DecisionContext) -> float | None:
    """Time until then."""
    return context.seconds_left(context.status.completion_time, context.spec.run_policy.ttl_seconds_after_finished)
