"""The ends of a job: suspended, failed, succeeded, and what is left to do afterwards."""

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.conditions import condition, with_condition
from arcface_operator.decision.context import Case
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Delete, DeleteJob, Dissolve, Plan
from arcface_operator.decision.removal import removal, removal_seconds
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.manifests.metadata import evaluator_name


def suspend(case: Case) -> Plan:
    """Remove everything that takes resources; what was reached stays in the status."""
    paused = with_condition(case, "Training", truth=False, reason="Suspended", message="spec.suspend is true")
    paused = with_condition(paused, "Ready", truth=False, reason="Suspended", message="spec.suspend is true")
    if case.has_rank_table:
        paused = with_condition(paused, "RankTableReady", truth=False, reason="Suspended", message="there are no pods")
    return Plan(
        status=paused.with_status(phase="Suspended", start_time=None, rank_table=None).status,
        actions=(*removal(case, case.all_workers), *evaluator_removal(case), *dissolution(case)),
        look_again_seconds=removal_seconds(case, case.all_workers),
    )


def dissolution(case: Case) -> tuple[Action, ...]:
    """Removal of the gang's group, for which its scheduler may hold resources, where pods are removed as well."""
    group = build_pod_group(case.job, case.settings)
    is_kept = case.spec.run_policy.clean_pod_policy == "None" and case.status.phase != "Suspended"
    return () if group is None or is_kept or not case.seen.has_group else (Dissolve(group),)


def fail(case: Case, reason: str, message: str, failure: FailureStatus | None = None) -> Plan:
    """The job ends without success."""
    failed = with_condition(case, "Failed", truth=True, reason=reason, message=message)
    failed = with_condition(failed, "Complete", truth=False, reason=reason)
    return ended(failed.with_status(phase="Failed", failure=failure or FailureStatus(reason=reason, message=message)))


def succeed(case: Case) -> Plan:
    """The job has reached all that was asked for."""
    done = with_condition(case, "Complete", truth=True, reason="Succeeded", message="the job is done")
    return ended(with_condition(done, "Failed", truth=False, reason="Succeeded").with_status(phase="Succeeded"))


def ended(case: Case) -> Plan:
    """The end is written first; the next decision cleans up."""
    training = condition(case.status, "Training")
    if training is not None and training.status == "True":
        case = with_condition(case, "Training", truth=False, reason="Ended", message="the job has ended")
    return Plan(status=case.with_status(completion_time=case.now).status, look_again_seconds=0.0)


def after_end(case: Case) -> Plan:
    """Clean the pods away as asked for, and at last the job."""
    ttl = case.spec.run_policy.ttl_seconds_after_finished
    if case.is_past(case.status.completion_time, ttl):
        return Plan(status=case.status, actions=(DeleteJob(),))
    unwanted = [pod for pod in case.all_workers if is_unwanted(case, pod)]
    waits = [case.seconds_left(case.status.completion_time, ttl), removal_seconds(case, unwanted)]
    if any(is_just_ended(case, pod) for pod in case.all_workers):
        waits.append(case.seconds_left(case.status.completion_time, case.settings.settle_seconds))
    return Plan(
        status=case.status,
        actions=(*removal(case, unwanted), *evaluator_cleaning(case), *dissolution(case)),
        look_again_seconds=min((wait for wait in waits if wait is not None), default=None),
    )


def is_unwanted(case: Case, pod: PodView) -> bool:
    """Whether a pod goes when the job has ended; those of earlier attempts always do."""
    policy = case.spec.run_policy.clean_pod_policy
    if policy == "All" or pod.attempt != case.status.attempt or pod.is_leaving:
        return True
    return policy == "Running" and not (has_left_its_node(pod) or is_just_ended(case, pod))


def has_left_its_node(pod: PodView) -> bool:
    """Whether nothing of a pod runs any more; until then it holds its devices."""
    return pod.phase in {"Succeeded", "Failed"}


def is_just_ended(case: Case, pod: PodView) -> bool:
    """Whether a pod may need but a moment to be through: its containers' ends are told before its own."""
    is_due = case.is_past(case.status.completion_time, case.settings.settle_seconds)
    return pod.ended is not None and not has_left_its_node(pod) and not is_due


def evaluator_cleaning(case: Case) -> tuple[Action, ...]:
    """Removal of the evaluator at the job's end."""
    evaluator, policy = case.seen.evaluator, case.spec.run_policy.clean_pod_policy
    if evaluator is None:
        return ()
    runs = not evaluator.is_complete and evaluator.failure is None
    return evaluator_removal(case) if policy == "All" or (policy == "Running" and runs) else ()


def evaluator_removal(case: Case) -> tuple[Action, ...]:
    """Deletion of the evaluator Job with its pods."""
    evaluator = case.seen.evaluator
    if evaluator is None or evaluator.is_leaving:
        return ()
    return (Delete(resource="jobs", name=evaluator_name(case.job.metadata.name), uid=evaluator.uid),)
