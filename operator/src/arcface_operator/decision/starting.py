"""From nothing, or from the ruins of an attempt, to a full gang of pods."""

from dataclasses import replace

from arcface_api.contract.rank_table import INITIALIZING
from arcface_api.errors import InvalidInput
from arcface_api.resource.status import ConditionType
from arcface_operator.decision import ending, prerequisites
from arcface_operator.decision.context import DecisionContext, condition
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Apply, Create, DryRunCreate, Plan
from arcface_operator.manifests import config_maps, evaluator_job, gang, metadata, rank_table_size, worker_pod
from arcface_operator.preflight.spec_checks import unsupported

MOST_DOUBLINGS = 30
"""Beyond any longest pause, and far from what a number of seconds can hold."""
STARTING_CONDITIONS: tuple[ConditionType, ...] = ("Ready", "Training")


def refusal(context: DecisionContext) -> str | None:
    """Why a job can never run, whatever it waits for; found before anything is taken."""
    return flaw(context) if context.status.phase in {None, "Suspended", "Pending"} else None


def flaw(context: DecisionContext) -> str | None:
    """What of the spec cannot be carried out; its evaluation may have changed since the job began."""
    if sentences := unsupported(context.spec):
        return "; ".join(sentences)
    if (sentence := rank_table_size.too_large_rank_table(context.spec)) is not None:
        return sentence
    try:
        worker_pod.build_worker_pod(context.job, 0, 0, context.settings)
        if context.spec.evaluation is not None:
            evaluator_job.build_evaluator_job(context.job, context.spec.evaluation, context.settings)
    except InvalidInput as error:
        return str(error)
    return None


def begin(context: DecisionContext) -> DecisionContext:
    """The job is acted on for the first time, or again after it was suspended."""
    for kind in STARTING_CONDITIONS:
        context = context.with_condition(kind, truth=False, reason="Pending", message="the job is about to start")
    if condition(context.status, "Suspended") is not None:
        context = context.with_condition("Suspended", truth=False, reason="Resumed", message="the job is resumed")
    was_run = context.status.workers is not None
    return context.with_status(
        phase="Pending",
        start_time=context.now,
        running_time=None,
        training_time=None,
        attempt=context.status.attempt + 1 if was_run else context.status.attempt,
    )


def start(context: DecisionContext) -> Plan:
    """Remove pods of earlier attempts, wait for what is needed, then create the pods."""
    if old := context.old_workers:
        return Plan(
            status=_with_lingerer(context, old).status,
            actions=ending.removal(context, old),
            look_again_seconds=ending.removal_seconds(context, old),
        )
    existing = {pod.index for pod in context.workers}
    missing = [index for index in range(context.spec.workers.replicas) if index not in existing]
    if not missing:
        return _all_exist(context)
    if not existing and (wait := _before_first_pod(context)) is not None:
        return wait
    # The pods' events come long before that, unless somebody keeps them from us.
    return Plan(
        status=_ready_to_run(context).status,
        actions=_creation(context, missing),
        look_again_seconds=context.settings.check_seconds,
    )


def _all_exist(context: DecisionContext) -> Plan:
    """Every pod is there: the ranks start."""
    context = context.with_condition("Ready", truth=True, reason="Ready", message="all pods exist")
    context = context.with_condition("Training", truth=False, reason="Starting", message="the ranks are starting")
    status = context.with_status(phase="Starting").status
    return Plan(status=status, look_again_seconds=context.settings.starting_poll_seconds)


def _before_first_pod(context: DecisionContext) -> Plan | None:
    """What keeps a job from taking anything yet; None where its first pod may be made."""
    if left := _back_off_seconds(context):
        message = f"attempt {context.status.attempt} waits: the one before it ended before it trained"
        return replace(_wait_for(context, "BackOff", message), look_again_seconds=left)
    if context.observed.prerequisites is None:
        return Plan(status=context.status, look_again_seconds=0.0)  # looked at in the phase that is now begun
    if unmet := prerequisites.unmet_prerequisites(context.job, context.observed.prerequisites):
        return _wait_for(context, unmet[0].reason, "; ".join(item.message for item in unmet))
    return None


def _with_lingerer(context: DecisionContext, old: tuple[PodView, ...]) -> DecisionContext:
    """The context with a word on a pod that should have left long ago and is not removed by force."""
    pod = next((pod for pod in old if ending.is_overdue(context, pod)), None)
    if pod is None or pod.leaves_at is None:
        return context
    message = f"pod {pod.name} on node {pod.node} should have left by {pod.leaves_at.isoformat()}; look at its node"
    return context.with_condition("Ready", truth=False, reason="PodsLeaving", message=message)


def _wait_for(context: DecisionContext, reason: str, message: str) -> Plan:
    """Something is not there yet; nothing is taken while it is missing."""
    waiting = context.with_condition("Ready", truth=False, reason=reason, message=message)
    return Plan(status=waiting.status, look_again_seconds=context.settings.check_seconds)


def _back_off_seconds(context: DecisionContext) -> float | None:
    """Time left before an attempt that follows a vain one may begin.

    Faults of the infrastructure are not counted: without a pause, a node that refuses every pod would get new ones for
    ever.
    """
    began, training = context.status.restarted_at, condition(context.status, "Training")
    if context.status.phase != "Restarting" or began is None:
        return None
    if training is None or training.last_transition_time >= began:
        return None  # it trained until the restart
    doublings = min(context.status.restarts - 1, MOST_DOUBLINGS)
    longest = context.settings.longest_restart_seconds
    return context.seconds_left(began, min(context.settings.restart_seconds * 2**doublings, longest))


def _ready_to_run(context: DecisionContext) -> DecisionContext:
    """Storage, names and spec are in order, or the API server's word on what is not."""
    if context.observed.refusal is not None:
        return context.with_condition("Ready", truth=False, reason="Refused", message=context.observed.refusal)
    return context.with_condition("Ready", truth=True, reason="Ready", message="storage, devices and spec are in order")


def _creation(context: DecisionContext, missing: list[int]) -> tuple[Action, ...]:
    """What the pods need, then the pods."""
    pods = [
        Create(worker_pod.build_worker_pod(context.job, index, context.status.attempt, context.settings))
        for index in missing
    ]
    return (*(Apply(manifest) for manifest in _before_pods(context)), *_dry_runs(context), *pods)


def _dry_runs(context: DecisionContext) -> tuple[Action, ...]:
    """A misspelt field in the evaluator's template is better found now than after the training."""
    evaluation = context.spec.evaluation
    if evaluation is None or evaluation.template is None or context.status.phase != "Pending":
        return ()
    return (DryRunCreate(evaluator_job.build_evaluator_job(context.job, evaluation, context.settings)),)


def _before_pods(context: DecisionContext) -> list[metadata.Manifest]:
    """Objects that must be there when a pod starts."""
    needed = [worker_pod.build_service(context.job), config_maps.build_config_map(context.job)]
    if context.has_rank_table:
        needed.append(config_maps.build_rank_table_map(context.job, INITIALIZING, context.now, context.settings))
    if (group := gang.build_pod_group(context.job, context.settings)) is not None:
        needed.append(group)
    return needed
