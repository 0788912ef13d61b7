"""`spec.scheduling.gang: kueue`: pods are there only while Kueue keeps quota for them, by a Workload of their stage."""

from dataclasses import dataclass

from arcface_api.resource.status import FailureStatus
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import QUOTA_WITHDRAWN
from arcface_operator.decision.faults import Fault, fault_of, one_line
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Create, Delete, WriteWorkloadStatus
from arcface_operator.decision.stages import EVALUATION, STAGES, Stage
from arcface_operator.manifests import metadata, workload as kueue

AT_REST = frozenset({"Succeeded", "Failed", "Suspended"})
"""Phases of jobs that need no quota, or not for a while."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What a job waits for in Kueue's queue, and what is done about it."""

    message: str
    actions: tuple[Action, ...] = ()


def withdrawn(context: DecisionContext) -> Fault | None:
    """Pods for which Kueue does not keep quota, or not any more: they save and leave, uncounted."""
    if context.observed.queue is None or not context.pods:
        return _lost_in_the_queue(context)
    workload = _workload(context, context.stage)
    if workload is None or workload.is_leaving:
        if any(kueue.POD_GROUP_SIZE in pod.annotations for pod in context.pods):
            return None  # an earlier release made them: Kueue has admitted the pods themselves
        return _let_go("the Workload that Kueue admitted is gone")
    if workload.may_run:
        return None
    if workload.has("Evicted"):
        return _let_go(f"Kueue has evicted Workload {workload.name}: {workload.words('Evicted')}")
    return _let_go(f"Workload {workload.name} is not admitted any more: {workload.words('Admitted')}")


def _lost_in_the_queue(context: DecisionContext) -> Fault | None:
    """A Workload that was there before any pods and is gone: only another attempt's has another name."""
    if context.observed.queue is None or _workload(context, context.stage) is not None:
        return None
    name = kueue.workload_name(context.job, context.stage.gang(context.job).name)
    return _let_go(f"Workload {name} is gone") if context.status.workload == name else None


def given_back(context: DecisionContext) -> Wait | None:
    """What an evicted Workload still holds although its pods are gone; others wait for it."""
    workload = _workload(context, context.stage)
    if workload is None or not workload.is_evicted or workload.is_leaving:
        return None
    action = _write(workload, kueue.released(workload, context.now))
    return Wait(message=f"Kueue has evicted it: {workload.words('Evicted')}", actions=(action,))


def noted(context: DecisionContext) -> DecisionContext:
    """The context with the Workload that is there: should somebody delete it, its name must not come again."""
    workload = _workload(context, context.stage)
    return context if workload is None else context.with_status(workload=workload.name)


def awaited(context: DecisionContext) -> Wait | None:
    """What keeps the pods from being made, None where they may be."""
    if context.spec.scheduling.gang != "kueue":
        return None
    queue = context.observed.queue
    if queue is None:
        return Wait(message="Kueue's Workloads have not been seen yet; may the operator list them?")
    if queue.problem is not None:
        return Wait(message=queue.problem)
    workload = _workload(context, context.stage)
    if workload is None:
        message = f"waits for quota in Kueue's queue {context.spec.scheduling.queue}"
        return Wait(message=message, actions=(Create(_build(context, queue)),))
    if workload.is_leaving or workload.is_finished or workload.evaluation != _evaluation(context):
        keepers = f", finalizer {', '.join(workload.finalizers)} keeps it" if workload.finalizers else ""
        deletion = () if workload.is_leaving else (_delete(workload),)
        return Wait(message=f"Workload {workload.name} of before is still to go{keepers}", actions=deletion)
    return None if workload.may_run and queue.placement is not None else Wait(message=_answer(context, workload))


def settlement(context: DecisionContext) -> tuple[Action, ...]:
    """What Kueue is told of Workloads: whether pods are ready, that quota is needed no more, or not for a while."""
    actions = (
        action
        for stage in STAGES
        if (workload := _workload(context, stage)) is not None
        and not workload.is_leaving
        and (action := _settled(context, stage, workload)) is not None
    )
    return tuple(actions)


def _settled(context: DecisionContext, stage: Stage, workload: kueue.WorkloadView) -> Action | None:
    """What is done about a Workload that Kueue has."""
    pods = [pod for pod in context.observed.pods if pod.component == stage.component]
    is_over = context.status.phase in AT_REST or stage is not context.stage
    if workload.is_finished:
        # Deleted only now: who has not heard of the deletion yet sees one that must not be used any more.
        is_suspended = context.status.phase == "Suspended" and stage is context.stage
        return _delete(workload) if is_suspended else None
    if is_over and all(pod.has_left_its_node for pod in pods):
        return _write(workload, kueue.finished(workload, *_outcome(context, stage), context.now))
    return None if is_over else _told_of_readiness(context, workload)


def _told_of_readiness(context: DecisionContext, workload: kueue.WorkloadView) -> Action | None:
    """Whether all pods are ready, where Kueue does not know: it waits for them, at first and again, only so long."""
    if context.spec.suspend or not workload.may_run:
        return None  # what it holds goes back, and nobody waits for its pods
    is_complete = context.missing_pod is None and all(map(_is_well, context.pods))
    if is_complete == workload.has("PodsReady"):
        return None
    return _write(workload, kueue.with_readiness(workload, context.now, is_complete=is_complete))


def _is_well(pod: PodView) -> bool:
    """Whether a pod works, or has done its work."""
    return pod.is_running or (pod.ended is not None and pod.ended.exit_code == 0)


def _outcome(context: DecisionContext, stage: Stage) -> tuple[str, str]:
    """Reason and message of the end of a stage, in Kueue's words."""
    if context.status.phase == "Failed" and stage is context.stage:
        return "Failed", f"the {stage.work} has failed"
    if context.status.phase == "Suspended" and stage is context.stage:
        return "Suspended", "the job is suspended; when it goes on it queues anew"
    return "Succeeded", f"the {stage.work} is done"


def _answer(context: DecisionContext, workload: kueue.WorkloadView) -> str:
    """What Kueue says to a Workload that it does not let run yet."""
    queue = f"queue {context.spec.scheduling.queue}"
    if not workload.is_active:
        why = workload.words("Evicted") or "by an administrator"
        return f"Workload {workload.name} is deactivated ({why}); set its spec.active to true to queue it again"
    if workload.has("QuotaReserved"):
        pending = [
            f"{check['name']} ({check.get('state')})" for check in workload.checks if check.get("state") != "Ready"
        ]
        return f"{queue} has quota, which waits for {', '.join(pending) or 'its admission'}"
    return f"waits for quota in Kueue's {queue}: {workload.words('QuotaReserved') or 'not looked at yet'}"


def _workload(context: DecisionContext, stage: Stage) -> kueue.WorkloadView | None:
    """The Workload of a stage."""
    return kueue.workload_of(context.job, context.observed.queue, stage.component)


def _build(context: DecisionContext, queue: kueue.QueueView) -> metadata.Manifest:
    """The Workload that the stage needs."""
    stage, job = context.stage, context.job
    pod = stage.build_pod(job, 0, context.status.attempt, context.settings)
    return kueue.build_workload(job, stage.gang(job), pod, queue.priority, _evaluation(context))


def _let_go(why: str) -> Fault:
    """Nothing has failed, and nothing is held against anybody."""
    return fault_of(FailureStatus(reason=QUOTA_WITHDRAWN, message=one_line(why)))


def _evaluation(context: DecisionContext) -> str | None:
    """The wish that a Workload of the stage is about."""
    return context.status.evaluation_hash if context.stage is EVALUATION else None


def _write(workload: kueue.WorkloadView, status: metadata.Manifest) -> WriteWorkloadStatus:
    """Tell Kueue something."""
    return WriteWorkloadStatus(name=workload.name, uid=workload.uid, version=workload.version, status=status)


def _delete(workload: kueue.WorkloadView) -> Delete:
    """Take a Workload away."""
    return Delete(resource="workloads", name=workload.name, uid=workload.uid)
