"""A full gang of pods: tell the ranks of each other, follow what rank 0 reports, start anew after a fault."""

from datetime import datetime

from arcface_api.contract import pod_environment, reports
from arcface_api.resource.status import CheckpointStatus, FailureStatus, Progress
from arcface_operator.decision import ending, evaluation, rank_table, starting
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.faults import Fault, pod_fault, worst
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Annotate, Apply, Plan
from arcface_operator.decision.policies import backoff_limit, stall_seconds, startup_deadline_seconds
from arcface_operator.manifests import config_maps, metadata


def gather(context: DecisionContext) -> Plan:
    """One look at a gang in Pending or Restarting: where it cannot be completed in time, it lets go of its devices."""
    if context.workers and not context.old_workers and context.missing_worker is not None:
        fault = startup_deadline_seconds.late_gang(context)
        if fault is not None:
            return _restart(context, fault)
    return starting.start(context)


def train(context: DecisionContext) -> Plan:
    """One look at a gang in Starting or Training."""
    context = _with_live_report(_with_admission(context))
    if _is_done(context):
        return evaluation.begin_evaluation(_with_last_report(context))
    if (fault := _gang_fault(context)) is not None:
        left = _settling_seconds(context, fault)
        if left:
            return Plan(status=context.status, look_again_seconds=left)
        return _restart(context, _lost_node(context) or fault if fault.is_blamed else fault)
    context, actions = _introduce(context)
    settings = context.settings
    if context.status.phase == "Training":
        return Plan(status=context.status, actions=actions, look_again_seconds=settings.progress_seconds)
    context = context.with_condition("Training", truth=False, reason="Starting", message=_waiting_for(context))
    return Plan(status=context.status, actions=actions, look_again_seconds=settings.starting_poll_seconds)


def blames_training(context: DecisionContext) -> bool:
    """Whether a gang in Starting or Training is about to be blamed for a fault, which a lost node would explain."""
    context = _with_live_report(_with_admission(context))
    if _is_done(context):
        return False
    fault = _gang_fault(context)
    return fault is not None and fault.is_blamed and not _settling_seconds(context, fault)


def _waiting_for(context: DecisionContext) -> str:
    """What a gang that starts waits for, the first pod's reason in full."""
    waiting = [pod for pod in context.workers if not pod.is_ready and pod.ended is None]
    reasons = [f"pod {pod.name}: {pod.waiting}" for pod in waiting if pod.waiting is not None]
    if reasons:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return reasons[0] + others
    return f"{len(waiting)} pods are not ready" if waiting else "the ranks are starting"


def _with_admission(context: DecisionContext) -> DecisionContext:
    """A gang that its queue holds back is not ready to run: the time to start in begins once it is let in."""
    if context.status.phase != "Starting":
        return context
    if any(pod.is_gated for pod in context.workers):
        why = "the queue has not let the pods in"
        return context.with_condition("Ready", truth=False, reason="Queued", message=why)
    return context.with_condition("Ready", truth=True, reason="Ready", message="all pods exist")


def _is_done(context: DecisionContext) -> bool:
    """Whether every pod of the gang has ended well."""
    pods = context.workers
    ended_well = [pod for pod in pods if pod.ended is not None and pod.ended.exit_code == 0]
    return len(ended_well) == len(pods) == context.spec.workers.replicas


def _gang_fault(context: DecisionContext) -> Fault | None:
    """What is wrong with the gang by its own account, None while it is well."""
    per_pod = context.spec.workers.devices_per_worker
    faults = [(pod, fault) for pod in context.workers if (fault := pod_fault(pod, per_pod)) is not None]
    fault, missing = worst(faults), context.missing_worker
    if missing is not None and (fault is None or fault.is_blamed):
        # A pod that is gone explains the failures of its peers as much as one that was disrupted does.
        name = metadata.worker_name(context.job.metadata.name, missing)
        lost = FailureStatus(reason="PodLost", message=f"pod {name} is gone", rank=missing * per_pod, pod=name)
        return Fault(failure=lost, is_counted=False)
    if fault is not None:
        return fault
    return (
        startup_deadline_seconds.late_gang(context)
        if context.status.phase == "Starting"
        else stall_seconds.stall(context)
    )


def _lost_node(context: DecisionContext) -> Fault | None:
    """A node that does not answer explains that its ranks are silent and that their peers give up."""
    pod = next((pod for pod in context.workers if pod.node in context.observed.lost_nodes), None)
    if pod is None:
        return None
    message = f"node {pod.node} of pod {pod.name} is gone or does not answer"
    rank = pod.index * context.spec.workers.devices_per_worker
    lost = FailureStatus(reason="NodeLost", message=message, rank=rank, pod=pod.name, node=pod.node)
    return Fault(failure=lost, is_counted=False)


def _settling_seconds(context: DecisionContext, fault: Fault) -> float | None:
    """Time left for the pods to end by themselves: the first to fail is not always the one that explains it."""
    if fault.is_final or all(pod.ended is not None for pod in context.workers):
        return None
    ended = [pod.ended for pod in context.workers if pod.ended is not None and pod.ended.exit_code != 0]
    settle_seconds = context.settings.settle_seconds
    left = context.seconds_left(min((end.at for end in ended if end.at is not None), default=None), settle_seconds)
    # A node whose clock is far ahead of ours must not hold the others up.
    return None if left is None or left > 2 * settle_seconds else left


def _restart(context: DecisionContext, fault: Fault) -> Plan:
    """All ranks start anew from the newest complete checkpoint, or the job has failed."""
    failure = fault.failure
    if fault.is_final:
        return ending.fail(context, failure.reason, failure.message, failure)
    if (sentence := backoff_limit.exceeded(context, fault)) is not None:
        return ending.fail(context, "BackoffLimitExceeded", sentence, failure)
    context = context.with_condition("Training", truth=False, reason=failure.reason, message=failure.message)
    if context.has_rank_table:
        why = "the pods start anew"
        context = context.with_condition("RankTableReady", truth=False, reason="Restarting", message=why)
    return starting.start(
        context.with_status(
            phase="Restarting",
            attempt=context.status.attempt + 1,
            restarts=context.status.restarts + 1,
            counted_restarts=context.status.counted_restarts + fault.is_counted,
            restarted_at=context.now,
            failure=failure,
            rank_table=None,
        )
    )


def _introduce(context: DecisionContext) -> tuple[DecisionContext, tuple[Action, ...]]:
    """Tell every rank where the others are, as soon as that is known."""
    if context.has_rank_table:
        return _publish_rank_table(context)
    pods = context.workers
    address = pods[0].address
    if len(pods) == 1 or address is None:
        return context, ()
    return context, _annotations(pods, pod_environment.SCHEDULER_ANNOTATION, address)


def _publish_rank_table(context: DecisionContext) -> tuple[DecisionContext, tuple[Action, ...]]:
    """Complete the rank table and touch the pods, so that their kubelets show it at once.

    Pods are touched after the write of the table has succeeded: it counts as completed once all of them say so.
    """
    pods, annotation = context.workers, context.settings.device_annotation
    version = rank_table.table_version(pods, annotation)
    touches = _annotations(pods, pod_environment.RANK_TABLE_ANNOTATION, version)
    if not touches and any(pod.annotations.get(pod_environment.RANK_TABLE_ANNOTATION) == version for pod in pods):
        context = context.with_status(rank_table=rank_table.complete(context.spec))
        message = "all ranks are in it"
        return context.with_condition("RankTableReady", truth=True, reason="Completed", message=message), ()
    table = rank_table.assemble(context.spec, pods, annotation)
    context = context.with_status(rank_table=table.status.model_copy(update={"state": "initializing"}))
    reason, message = _table_state(table)
    context = context.with_condition("RankTableReady", truth=False, reason=reason, message=message)
    if table.document is None:
        return context, ()
    return context, (
        Apply(config_maps.build_rank_table_map(context.job, table.document, context.now, context.settings)),
        *touches,
    )


def _table_state(table: rank_table.RankTable) -> tuple[str, str]:
    """Reason and message of a table that is not there for the ranks yet."""
    if table.document is not None:
        return "Publishing", "the cards of all ranks are known, the table is being written"
    if table.problem is not None:
        return startup_deadline_seconds.UNUSABLE, table.problem
    return "WaitingForDevices", f"no devices are known yet of {', '.join(table.status.missing)}"


def _annotations(pods: tuple[PodView, ...], name: str, value: str) -> tuple[Action, ...]:
    """Annotate the pods that do not have the value yet."""
    return tuple(
        Annotate(name=pod.name, uid=pod.uid, annotations={name: value})
        for pod in pods
        if pod.ended is None and pod.annotations.get(name) != value
    )


def _with_live_report(context: DecisionContext) -> DecisionContext:
    """The context with what rank 0 serves; its first word is the beginning of the training."""
    report = context.observed.report
    if report is None or report.progress is None:
        return context
    if context.status.phase == "Starting":
        message = f"attempt {context.status.attempt} trains"
        context = context.with_condition("Training", truth=True, reason="Training", message=message)
        context = context.with_status(phase="Training")
    return _with_report(context, report)


def _with_last_report(context: DecisionContext) -> DecisionContext:
    """The context with what the first pod said at its end."""
    context = with_end_report(context)
    return context.with_condition("Training", truth=False, reason="Trained", message="every rank has ended well")


def with_end_report(context: DecisionContext) -> DecisionContext:
    """The context with what rank 0's pod said at its end, where it has come to it."""
    ended = next((pod.ended for pod in context.workers if pod.index == 0), None)
    report = None if ended is None else reports.TrainerReport.parse(ended.message)
    return context if report is None else _with_report(context, report)


def _with_report(context: DecisionContext, report: reports.TrainerReport) -> DecisionContext:
    """The context with a trainer's progress and checkpoint."""
    if report.progress is not None:
        context = context.with_status(progress=_advanced(context.status.progress, report.progress, context.now))
    if report.checkpoint is not None:
        context = _with_checkpoint(context, report.checkpoint)
    return context


def _advanced(old: Progress | None, new: Progress, now: datetime) -> Progress:
    """The newer progress by our own clock; one without a new step leaves the old, so that a stall shows.

    A verification comes after the step that it is about.
    """
    if old is not None and old.step == new.step:
        verified = {"verification": new.verification, "best": new.best}
        return old if new.verification is None else old.model_copy(update=verified)
    return new.model_copy(update={"updated_at": now})


def _with_checkpoint(context: DecisionContext, checkpoint: CheckpointStatus) -> DecisionContext:
    """The context with the newest complete checkpoint."""
    message = f"step {checkpoint.step} in {checkpoint.path}"
    found = context.with_condition("CheckpointAvailable", truth=True, reason="Saved", message=message)
    return found.with_status(checkpoint=checkpoint)
