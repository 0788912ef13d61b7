"""`spec.runPolicy.cleanPodPolicy`: which pods go when a job, or its training, has ended."""

from datetime import datetime

from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.observation import NO_ATTEMPT, PodView
from arcface_operator.decision.stages import EVALUATION, TRAINING


def unwanted_pods(context: DecisionContext) -> list[PodView]:
    """Pods of a job that has ended; those of earlier attempts, or of none, always go."""
    pods = context.observed.pods
    last = {kind: max(pod.attempt for pod in pods if pod.component == kind) for kind in {pod.component for pod in pods}}
    kept = {(component, attempt) for component, attempt in last.items() if attempt != NO_ATTEMPT}
    return [pod for pod in pods if (pod.component, pod.attempt) not in kept or _is_unwanted(context, pod)]


def idle_workers(context: DecisionContext) -> list[PodView]:
    """Rank pods that hold devices although the training is done, by a sidecar that lives on, and all spare ones."""
    if context.stage is not EVALUATION:
        return []
    of_ranks = context.spec.run_policy.clean_pod_policy != "None"
    pods = (pod for pod in context.observed.pods if pod.component == TRAINING.component)
    workers = [pod for pod in pods if of_ranks or pod.attempt == NO_ATTEMPT]
    return [pod for pod in workers if not pod.has_left_its_node and not _is_just_ended(context, pod)]


def is_group_unwanted(context: DecisionContext) -> bool:
    """Whether the gang scheduler's group goes, for which its scheduler may hold resources."""
    return context.spec.run_policy.clean_pod_policy != "None" or context.status.phase == "Suspended"


def settling_seconds(context: DecisionContext) -> float | None:
    """Time that pods have left to be through by themselves; None where none needs it."""
    if not any(_is_just_ended(context, pod) for pod in context.observed.pods):
        return None
    return context.seconds_left(_ended_at(context), context.settings.settle_seconds)


def _is_unwanted(context: DecisionContext, pod: PodView) -> bool:
    """Whether a pod of the last attempt goes."""
    policy = context.spec.run_policy.clean_pod_policy
    if policy == "All" or pod.is_leaving:
        return True
    return policy == "Running" and not (pod.has_left_its_node or _is_just_ended(context, pod))


def _is_just_ended(context: DecisionContext, pod: PodView) -> bool:
    """Whether a pod may need but a moment to be through: its containers' ends are told before its own."""
    is_due = context.is_past(_ended_at(context), context.settings.settle_seconds)
    return pod.ended is not None and not pod.has_left_its_node and not is_due


def _ended_at(context: DecisionContext) -> datetime | None:
    """When the job, or its training, came to its end."""
    return context.status.completion_time or context.status.training_completion_time
