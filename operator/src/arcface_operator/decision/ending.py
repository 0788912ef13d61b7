"""The ends of a job: suspended, failed, succeeded; and taking away what it has, by force where a node is gone."""

from collections.abc import Sequence

from arcface_api.contract.rank_table import INITIALIZING
from arcface_api.errors import ExitCode
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ConditionType, FailureStatus
from arcface_operator.decision import stages
from arcface_operator.decision.answers.action_failure import REFUSED, UNAVAILABLE
from arcface_operator.decision.context import ROOM, DecisionContext, condition, true_since
from arcface_operator.decision.observation import NO_ATTEMPT, PodView
from arcface_operator.decision.plan import Apply, Delete, DeleteJob, DeletePodGroup, Plan, Request, earliest
from arcface_operator.decision.policies import clean_pod_policy, min_replicas, ttl_seconds_after_finished
from arcface_operator.decision.recovery import ladder, one_pod
from arcface_operator.manifests import config_maps, gang, metadata

SUSPENDING = "Suspending"
"""Reason of the condition Suspended while pods leave."""
SUSPENDING_REASONS = frozenset({SUSPENDING, REFUSED, UNAVAILABLE})
"""With those that it has where the API server does not let them go."""
ENDED, AFTER_END = "Ended", "the job has ended"
"""Reason and message of conditions that hold no more once a job has ended."""
BEREFT_SECONDS = 10
"""For a pod to end in whose ranks wait for a peer that is dead."""
AFTER_SAVING = frozenset({ExitCode.DONE, ExitCode.STOPPED})
"""Exit codes of ranks that have ended together."""


def suspend(context: DecisionContext) -> Plan:
    """Remove everything that takes resources; what was reached stays in the status."""
    pods = context.observed.pods
    return Plan(
        status=_paused(context).status,
        actions=(*removal(context, pods, "Suspended"), *_group_removal(context, "Suspended")),
        look_again_seconds=removal_seconds(context, pods),
    )


def _paused(context: DecisionContext) -> DecisionContext:
    """The context of a job that is to rest: it is called suspended once its pods have saved and left, not before."""
    why, groups = "spec.suspend is true", context.observed.groups or {}
    kept = _keepers(context)
    leaving = [pod for pod in context.observed.pods if not pod.has_left_its_node]
    is_at_rest = context.status.phase in {None, "Suspended"} or not (leaving or groups)
    for kind in ROOM:
        context = context.with_condition(kind, truth=False, reason="Suspended", message=why)
    if context.has_rank_table:
        context = context.with_condition("RankTableReady", truth=False, reason="Suspended", message="it is taken back")
        context = context.with_status(rank_table=None)
    if not is_at_rest:
        message = f"{why}, {len(leaving)} pods are still to leave" if leaving else f"{why}, the pod group is to go"
        return context.with_condition("Suspended", truth=False, reason=SUSPENDING, message=f"{message}{kept}")
    context = context.with_condition("Suspended", truth=True, reason="Suspended", message=f"{why}{kept}")
    context = context.with_condition(context.stage.condition, truth=False, reason="Suspended", message=why)
    return context.with_status(phase="Suspended", start_time=None)


def _keepers(context: DecisionContext) -> str:
    """A word on who keeps what a suspension, or the end, takes away."""
    pods, groups = lingering(context, context.observed.pods), context.observed.groups or {}
    sentences = [] if pods is None else [pods]
    for name, finalizers in groups.items():
        if finalizers:
            sentences.append(f"group {name} waits on its finalizers {', '.join(finalizers)}")
    return "".join(f"; {sentence}" for sentence in sentences)


def is_suspending(context: DecisionContext) -> bool:
    """Whether pods leave for a suspension that has not come to its end."""
    suspended = condition(context.status, "Suspended")
    return suspended is not None and suspended.status == "False" and suspended.reason in SUSPENDING_REASONS


def fail(context: DecisionContext, reason: str, message: str, failure: FailureStatus | None = None) -> Plan:
    """The job ends without success."""
    failed = context.with_condition("Failed", truth=True, reason=reason, message=message)
    failed = failed.with_condition("Complete", truth=False, reason=reason)
    return _ended(failed.with_status(phase="Failed", failure=failure or FailureStatus(reason=reason, message=message)))


def succeed(context: DecisionContext) -> Plan:
    """The job has reached all that was asked for."""
    done = context.with_condition("Complete", truth=True, reason="Succeeded", message="the job is done")
    done = done.with_condition("Failed", truth=False, reason="Succeeded")
    return _ended(done.with_status(phase="Succeeded"))


def after_end(context: DecisionContext) -> Plan:
    """Clean the pods away as asked for, and at last the job."""
    if ttl_seconds_after_finished.is_over(context):
        return Plan(status=context.status, actions=(DeleteJob(),))
    unwanted = clean_pod_policy.unwanted_pods(context)
    return Plan(
        status=_with_keepers(context).status,
        actions=(*removal(context, unwanted), *_group_removal(context)),
        look_again_seconds=earliest(
            ttl_seconds_after_finished.seconds_left(context),
            removal_seconds(context, unwanted),
            clean_pod_policy.settling_seconds(context),
        ),
    )


def _with_keepers(context: DecisionContext) -> DecisionContext:
    """The context of a job that has ended, which says who keeps what should be gone, for as long as somebody does."""
    kept, ready = _keepers(context), condition(context.status, "Ready")
    if not kept and (ready is None or ready.reason != ENDED):
        return context
    return context.with_condition("Ready", truth=False, reason=ENDED, message=f"{AFTER_END}{kept}")


def removal_of_idle(context: DecisionContext) -> tuple[Request, ...]:
    """Deletion of rank pods that hold devices although the training is done, and of spare ones that show nothing."""
    workers = removal(context, clean_pod_policy.idle_workers(context), context.stage.condition)
    return (*workers, *removal(context, min_replicas.idle_spares(context), "FullSize"))


def removal_of_earlier(context: DecisionContext) -> tuple[Request, ...]:
    """Deletion of what an earlier job of this name has left, by force where its node is lost: the names are the job's.

    Kubernetes' garbage collector asks it to leave, but for jobs whose end it has not seen: after a restart of the API
    server it may find the new job under the name of the old one, and takes it for that (1.36,
    `GraphBuilder.processGraphChanges`). What is younger than the job is a later one's, which this look does not know.
    """
    theirs = [pod for pod in context.observed.earlier if pod.owner is not None]
    stuck = (_deletion(pod, "Ready", 0) for pod in theirs if _is_stuck(context, pod))
    return (*stuck, *(_deletion(pod, "Ready", None) for pod in theirs if _is_left_behind(context, pod)))


def _is_left_behind(context: DecisionContext, pod: PodView) -> bool:
    job = context.job.metadata
    is_older = job.creation_timestamp is not None and pod.created < job.creation_timestamp
    return is_older and pod.owner_job == job.name and not pod.is_leaving


def idle_seconds(context: DecisionContext) -> float | None:
    """When to look at rank pods whose training is done, and at spare ones that show nothing."""
    pods = (*clean_pod_policy.idle_workers(context), *min_replicas.idle_spares(context))
    idle = removal_seconds(context, pods)
    return earliest(idle, clean_pod_policy.settling_seconds(context))


def removal(
    context: DecisionContext, pods: Sequence[PodView], condition: ConditionType = "Ready"
) -> tuple[Request, ...]:
    """Deletion of the pods, on which a condition depends.

    The rank table is taken back first: nobody may start from a table with lost pods.
    """
    bereft = _bereft(context, pods)
    asked = [pod for pod in pods if not pod.is_leaving]
    hurried = [pod for pod in pods if (pod.grace_seconds or 0) > BEREFT_SECONDS and pod.uid in bereft]
    stuck = [pod for pod in pods if _is_stuck(context, pod)]
    deletions = [
        *(_deletion(pod, condition, BEREFT_SECONDS if pod.uid in bereft else None) for pod in (*asked, *hurried)),
        *(_deletion(pod, condition, 0) for pod in stuck),
    ]
    if context.has_rank_table and any(_is_rank(pod) for pod in asked):
        table = config_maps.build_rank_table_map(context.job, INITIALIZING, context.now, context.settings)
        return (Apply(table, "RankTableReady"), *deletions)
    return tuple(deletions)


def _deletion(pod: PodView, condition: ConditionType, grace_seconds: int | None) -> Delete:
    """Deletion of a pod, in less time than it may have where one is given; in none without its node's consent."""
    return Delete(resource="pods", name=pod.name, uid=pod.uid, grace_seconds=grace_seconds, condition=condition)


def _is_rank(pod: PodView) -> bool:
    """Whether a pod has ranks: spare pods have none, and are in no rank table."""
    return pod.component == stages.TRAINING.component and pod.attempt != NO_ATTEMPT


def _bereft(context: DecisionContext, pods: Sequence[PodView]) -> frozenset[str]:
    """Uids of rank pods that have lost a peer to a fault: their ranks wait in a collective, and save nothing any more.

    A peer that was asked to stop leaves only when all of them have saved. A pod that is made anew alone is bereft, too,
    once the others end their ranks without it.
    """
    if context.status.phase != "Restarting":
        return frozenset()
    alone = {pod.uid for pod in one_pod.replaced(context)}
    ranks = [pod for pod in pods if _is_rank(pod)]
    broken = {attempt for attempt in {pod.attempt for pod in ranks} if _is_broken(context, attempt)}
    saves = bool(alone) and one_pod.may_still_save(context)
    return frozenset(pod.uid for pod in ranks if (not saves if pod.uid in alone else pod.attempt in broken))


def _is_broken(context: DecisionContext, attempt: int) -> bool:
    """Whether an attempt has lost a pod to a fault."""
    peers = context.observed.gangs.get((stages.TRAINING.component, attempt), ())
    failed = any(peer.ended is not None and peer.ended.exit_code not in AFTER_SAVING for peer in peers)
    last, failure = context.status.recoveries[-1:], context.status.failure
    if failed or not last or failure is None or last[0].rung != ladder.Rung.WHOLE_GANG.value:
        return failed
    return failure.pod not in {None, *(peer.name for peer in peers)}  # it is gone


def is_overdue(context: DecisionContext, pod: PodView) -> bool:
    """Whether a pod should have left long ago."""
    return context.is_past(pod.leaves_at, context.settings.force_delete_seconds)


def lingering(context: DecisionContext, pods: Sequence[PodView]) -> str | None:
    """Who keeps a pod that should be gone; None where none should."""
    if (kept := next((pod for pod in pods if _is_kept(context, pod)), None)) is not None:
        keepers = ", ".join(kept.finalizers)
        return f"pod {kept.name} has left, finalizer {keepers} keeps it; whoever set that must take it away"
    pod = next((pod for pod in pods if is_overdue(context, pod)), None)
    if pod is None or pod.leaves_at is None:
        return None
    return f"pod {pod.name} on node {pod.node} should have left by {pod.leaves_at.isoformat()}; look at its node"


def _is_kept(context: DecisionContext, pod: PodView) -> bool:
    """Whether nothing but a finalizer is left of a pod, as far as its node tells."""
    has_left = pod.has_left_its_node or (_has_nobody(context, pod) and is_overdue(context, pod))
    return pod.is_leaving and bool(pod.finalizers) and has_left


def _has_nobody(context: DecisionContext, pod: PodView) -> bool:
    """Whether no node answers for a pod."""
    return pod.node is None or pod.node in context.observed.lost_nodes


def _is_stuck(context: DecisionContext, pod: PodView) -> bool:
    """Whether nobody is there any more who could confirm that the pod has left."""
    return is_overdue(context, pod) and _has_nobody(context, pod)


def removal_seconds(context: DecisionContext, pods: Sequence[PodView]) -> float | None:
    """When to see whether a leaving pod has become overdue."""
    if any(is_overdue(context, pod) for pod in pods):
        return context.settings.check_seconds
    return earliest(
        *(context.seconds_left(pod.leaves_at, context.settings.force_delete_seconds) or None for pod in pods)
    )


def _ended(context: DecisionContext) -> Plan:
    """The end is written first; the next decision cleans up."""
    kinds: tuple[ConditionType, ...] = (*ROOM, "RankTableReady", "Training", "RestartsCapped")
    for kind in kinds:
        if true_since(context.status, kind) is not None:
            context = context.with_condition(kind, truth=False, reason=ENDED, message=AFTER_END)
    return Plan(status=context.with_status(completion_time=context.now, rank_table=None).status, look_again_seconds=0.0)


def _group_removal(context: DecisionContext, condition: ConditionType = "Ready") -> tuple[Request, ...]:
    """Deletion of the gang scheduler's groups, where pods go as well."""
    if not clean_pod_policy.is_group_unwanted(context):
        return ()
    groups = group_names(context.job)
    there = (group for group in groups if group["metadata"]["name"] in (context.observed.groups or {}))
    return tuple(DeletePodGroup(group, condition) for group in there)


def group_names(job: ArcFaceTrainingJob) -> list[metadata.Manifest]:
    """The groups that a gang scheduler may have of a job, without their content."""
    groups = (gang.name_pod_group(job, stage.component, stage.group_name(job.metadata.name)) for stage in stages.STAGES)
    return [group for group in groups if group is not None]
