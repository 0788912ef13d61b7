"""From nothing, or from the ruins of an attempt, to a full gang of pods."""

from collections.abc import Sequence
from dataclasses import replace

from arcface_api.contract.rank_table import INITIALIZING
from arcface_api.errors import InvalidInput
from arcface_api.resource.status import ConditionType
from arcface_operator.decision.conditions import condition, with_condition
from arcface_operator.decision.context import Case
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Apply, Create, Plan, Rehearse
from arcface_operator.decision.prerequisites import obstacles
from arcface_operator.decision.removal import is_overdue, removal, removal_seconds
from arcface_operator.manifests.evaluator_job import build_evaluator_job
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.rank_table_map import build_rank_table_map
from arcface_operator.manifests.run_config import build_config_map
from arcface_operator.manifests.service import build_service
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.preflight.unsupported import unsupported

MOST_DOUBLINGS = 30
"""Beyond any longest pause, and far from what a number of seconds can hold."""
STARTING_CONDITIONS: tuple[ConditionType, ...] = ("Ready", "Training")


def refusal(case: Case) -> str | None:
    """Why a job can never run, whatever it waits for; found before anything is taken."""
    return flaw(case) if case.status.phase in {None, "Suspended", "Pending"} else None


def flaw(case: Case) -> str | None:
    """What of the spec cannot be carried out; its evaluation may have changed since the job began."""
    if sentences := unsupported(case.spec):
        return "; ".join(sentences)
    try:
        build_worker_pod(case.job, 0, 0, case.settings)
        if case.spec.evaluation is not None:
            build_evaluator_job(case.job, case.spec.evaluation, case.settings)
    except InvalidInput as error:
        return str(error)
    return None


def begin(case: Case) -> Case:
    """The job is acted on for the first time, or again after it was suspended."""
    for kind in STARTING_CONDITIONS:
        case = with_condition(case, kind, truth=False, reason="Pending", message="the job is about to start")
    was_run = case.status.workers is not None and case.status.phase == "Suspended"
    return case.with_status(
        phase="Pending",
        start_time=case.now,
        running_time=None,
        training_time=None,
        attempt=case.status.attempt + 1 if was_run else case.status.attempt,
    )


def start(case: Case) -> Plan:
    """Remove pods of earlier attempts, wait for what is needed, then create the pods."""
    if old := case.old_workers:
        return Plan(
            status=with_lingerer(case, old).status,
            actions=removal(case, old),
            look_again_seconds=removal_seconds(case, old),
        )
    existing = {pod.index for pod in case.workers}
    missing = [index for index in range(case.spec.workers.replicas) if index not in existing]
    if not missing:
        ready = with_condition(case, "Ready", truth=True, reason="Ready", message="all pods exist")
        waiting = with_condition(ready, "Training", truth=False, reason="Starting", message="the ranks are starting")
        return Plan(
            status=waiting.with_status(phase="Starting").status, look_again_seconds=case.settings.starting_poll_seconds
        )
    if not existing:
        if left := back_off_seconds(case):
            message = f"attempt {case.status.attempt} waits: the one before it ended before it trained"
            return replace(wait_for(case, "BackOff", message), look_again_seconds=left)
        if case.seen.surroundings is None:
            return Plan(status=case.status, look_again_seconds=0.0)  # they are looked at in the phase that is now begun
        if found := obstacles(case.job, case.seen.surroundings):
            return wait_for(case, found[0].reason, "; ".join(item.message for item in found))
    # The pods' events come long before that, unless somebody keeps them from us.
    return Plan(
        status=ready_to_run(case).status,
        actions=creation(case, missing),
        look_again_seconds=case.settings.check_seconds,
    )


def with_lingerer(case: Case, old: Sequence[PodView]) -> Case:
    """The case with a word on a pod that should have left long ago and is not removed by force."""
    pod = next((pod for pod in old if is_overdue(case, pod)), None)
    if pod is None or pod.leaves_at is None:
        return case
    message = f"pod {pod.name} on node {pod.node} should have left by {pod.leaves_at.isoformat()}; look at its node"
    return with_condition(case, "Ready", truth=False, reason="PodsLeaving", message=message)


def wait_for(case: Case, reason: str, message: str) -> Plan:
    """Something is not there yet; nothing is taken while it is missing."""
    waiting = with_condition(case, "Ready", truth=False, reason=reason, message=message)
    return Plan(status=waiting.status, look_again_seconds=case.settings.check_seconds)


def back_off_seconds(case: Case) -> float | None:
    """Time left before an attempt that follows a vain one may begin.

    Faults of the infrastructure are not counted: without a pause, a node that refuses every pod would get new ones for
    ever.
    """
    began, training = case.status.restarted_at, condition(case.status, "Training")
    if case.status.phase != "Restarting" or began is None:
        return None
    if training is None or training.last_transition_time >= began:
        return None  # it trained until the restart
    doublings = min(case.status.restarts - 1, MOST_DOUBLINGS)
    longest = case.settings.longest_restart_seconds
    return case.seconds_left(began, min(case.settings.restart_seconds * 2**doublings, longest))


def ready_to_run(case: Case) -> Case:
    """Storage, names and spec are in order, or the API server's word on what is not."""
    if case.seen.refusal is not None:
        return with_condition(case, "Ready", truth=False, reason="Refused", message=case.seen.refusal)
    return with_condition(case, "Ready", truth=True, reason="Ready", message="storage, devices and spec are in order")


def creation(case: Case, missing: list[int]) -> tuple[Action, ...]:
    """What the pods need, then the pods."""
    pods = [Create(build_worker_pod(case.job, index, case.status.attempt, case.settings)) for index in missing]
    return (*(Apply(manifest) for manifest in before_pods(case)), *rehearsal(case), *pods)


def rehearsal(case: Case) -> tuple[Action, ...]:
    """A misspelt field in the evaluator's template is better found now than after the training."""
    evaluation = case.spec.evaluation
    if evaluation is None or evaluation.template is None or case.status.phase != "Pending":
        return ()
    return (Rehearse(build_evaluator_job(case.job, evaluation, case.settings)),)


def before_pods(case: Case) -> list[Manifest]:
    """Objects that must be there when a pod starts."""
    needed = [build_service(case.job), build_config_map(case.job)]
    if case.has_rank_table:
        needed.append(build_rank_table_map(case.job, INITIALIZING, case.now, case.settings))
    if (group := build_pod_group(case.job, case.settings)) is not None:
        needed.append(group)
    return needed
