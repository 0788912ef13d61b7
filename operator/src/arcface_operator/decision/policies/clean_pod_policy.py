"""`spec.runPolicy.cleanPodPolicy`: which pods go when a job has ended."""

from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.observation import PodView


def unwanted_workers(context: DecisionContext) -> list[PodView]:
    """Rank pods that go; those of earlier attempts always do."""
    return [pod for pod in context.all_workers if _is_unwanted(context, pod)]


def is_evaluator_unwanted(context: DecisionContext) -> bool:
    """Whether the evaluator goes with its pods."""
    evaluator, policy = context.observed.evaluator, context.spec.run_policy.clean_pod_policy
    if evaluator is None:
        return False
    runs = not evaluator.is_complete and evaluator.failure is None
    return policy == "All" or (policy == "Running" and runs)


def is_group_unwanted(context: DecisionContext) -> bool:
    """Whether the gang scheduler's group goes, for which its scheduler may hold resources."""
    return context.spec.run_policy.clean_pod_policy != "None" or context.status.phase == "Suspended"


def settling_seconds(context: DecisionContext) -> float | None:
    """Time that pods have left to be through by themselves; None where none needs it."""
    if not any(_is_just_ended(context, pod) for pod in context.all_workers):
        return None
    return context.seconds_left(context.status.completion_time, context.settings.settle_seconds)


def _is_unwanted(context: DecisionContext, pod: PodView) -> bool:
    """Whether a rank pod goes."""
    policy = context.spec.run_policy.clean_pod_policy
    if policy == "All" or pod.attempt != context.status.attempt or pod.is_leaving:
        return True
    return policy == "Running" and not (pod.has_left_its_node or _is_just_ended(context, pod))


def _is_just_ended(context: DecisionContext, pod: PodView) -> bool:
    """Whether a pod may need but a moment to be through: its containers' ends are told before its own."""
    is_due = context.is_past(context.status.completion_time, context.settings.settle_seconds)
    return pod.ended is not None and not pod.has_left_its_node and not is_due
