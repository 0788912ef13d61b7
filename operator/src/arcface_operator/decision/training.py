"""What is the training's own in the course of its gang: ranks are told of each other, rank 0 reports progress."""

from datetime import datetime

from arcface_api.contract import pod_environment, reports
from arcface_api.resource.status import CheckpointStatus, ConditionType, Progress
from arcface_operator.decision import faults, rank_table, stages
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import NO_REPORT
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Annotate, Apply
from arcface_operator.decision.policies import startup_deadline_seconds
from arcface_operator.decision.recovery import calls, ladder
from arcface_operator.manifests import config_maps, metadata


def introduce(context: DecisionContext) -> tuple[DecisionContext, tuple[Action, ...]]:
    """Tell every rank where the others are, as soon as that is known, and which launch it is of."""
    pods, launch = context.pods, calls.announcement(context)
    if context.has_rank_table:
        context, actions = _publish_rank_table(context)
        return context, (*actions, *launch)
    address = pods[0].address
    if len(pods) == 1 or address is None:
        return context, launch
    return context, (*_annotations(pods, pod_environment.SCHEDULER_ANNOTATION, address, "Training"), *launch)


def _publish_rank_table(context: DecisionContext) -> tuple[DecisionContext, tuple[Action, ...]]:
    """Complete the rank table and touch the pods, so that their kubelets show it at once.

    Pods are touched after the write of the table has succeeded: it counts as completed once all of them say so.
    """
    pods, annotation = context.pods, context.settings.device_annotation
    replacement = context.status.replacement
    launch = None if replacement is None else replacement.launch
    version = rank_table.table_version(pods, annotation, launch)
    touches = _annotations(pods, pod_environment.RANK_TABLE_ANNOTATION, version, "RankTableReady")
    is_told = not touches and any(pod.annotations.get(pod_environment.RANK_TABLE_ANNOTATION) == version for pod in pods)
    if is_told and _has_rank_table(context, version):
        context = context.with_status(rank_table=rank_table.complete(context.gang_spec))
        message = "all ranks are in it"
        return context.with_condition("RankTableReady", truth=True, reason="Completed", message=message), ()
    table = rank_table.assemble(context.gang_spec, pods, annotation, launch)
    context = context.with_status(rank_table=table.status.model_copy(update={"state": "initializing"}))
    reason, message = _table_state(table)
    context = context.with_condition("RankTableReady", truth=False, reason=reason, message=message)
    if table.document is None:
        return context, ()
    written = config_maps.build_rank_table_map(context.job, table.document, context.now, context.settings)
    return context, (Apply(metadata.sealed(written, version), "RankTableReady"), *touches)


def _has_rank_table(context: DecisionContext, version: str) -> bool:
    """Whether the completed table of this version is there; taken for granted where it cannot be seen."""
    name = metadata.rank_table_name(context.job.metadata.name)
    return context.observed.objects is None or context.observed.written(name) in {version, ""}


def _table_state(table: rank_table.RankTable) -> tuple[str, str]:
    """Reason and message of a table that is not there for the ranks yet."""
    if table.document is not None:
        return "Publishing", "the cards of all ranks are known, the table is being written"
    if table.problem is not None:
        return startup_deadline_seconds.UNUSABLE, table.problem
    return "WaitingForDevices", f"no devices are known yet of {table.status.missing_in_words}"


def _annotations(pods: tuple[PodView, ...], name: str, value: str, condition: ConditionType) -> tuple[Action, ...]:
    """Annotate the pods that do not have the value yet."""
    return tuple(
        Annotate(name=pod.name, uid=pod.uid, annotations={name: value}, condition=condition)
        for pod in pods
        if pod.ended is None and pod.annotations.get(name) != value
    )


def with_live_report(context: DecisionContext) -> DecisionContext:
    """The context with what rank 0 serves; its first word is the beginning of the training."""
    context, report = context.with_sighting(), context.observed.report
    if not isinstance(report, reports.TrainerReport) or report.progress is None:
        return context
    if context.status.phase == "Starting":
        message = f"attempt {context.status.attempt} trains"
        context = context.with_condition("Training", truth=True, reason="Training", message=message)
        context = context.with_status(phase="Training")
    return _with_report(context, report)


def with_last_report(context: DecisionContext) -> DecisionContext:
    """The context with what the first pod said at its end."""
    report = _end_report(context)
    context = context.with_condition(
        "Training", truth=False, reason=stages.TRAINED, message="every rank has ended well"
    )
    return context if report is None else _with_report(context, report)


def unfinished(context: DecisionContext) -> faults.Fault | None:
    """What is wrong with a gang whose pods have all ended well: only the last step in rank 0's report is success."""
    pod, report = context.pods[0], _end_report(context)
    progress = None if report is None else report.progress
    if progress is not None and progress.step >= progress.total_steps:
        return None
    told = "leaves no report" if progress is None else f"tells of step {progress.step} of {progress.total_steps}"
    message = f"pod {pod.name}: ended well but {told}; is spec.image the trainer image, and the command its own?"
    return faults.fault_of(faults.digest(pod, context.spec.workers.devices_per_worker, NO_REPORT, message))


def abandoned(context: DecisionContext) -> faults.Fault | None:
    """What is wrong with a gang whose first pod has ended well, but not at the last step, while others live on.

    Nobody else tells of steps, so neither clock of a gang runs any more. The others get as long to end by themselves as
    it would take them to get nowhere: one of them may tell more.
    """
    ended, policy = context.pods[0].ended, context.spec.run_policy
    if ended is None or ended.exit_code != 0:
        return None
    is_at_work = context.status.phase == context.stage.at_work
    limit = policy.stall_seconds if is_at_work else policy.startup_deadline_seconds
    is_over = context.is_past(ended.at, context.settings.settle_seconds + limit)
    return unfinished(context) if is_over else None


def with_end_report(context: DecisionContext) -> DecisionContext:
    """The context with what rank 0's pod said at its end, where it has come to it."""
    report = _end_report(context)
    return context if report is None else _with_report(context, report)


def _end_report(context: DecisionContext) -> reports.TrainerReport | None:
    """What rank 0's pod said at its end."""
    ended = next((pod.ended for pod in context.pods if pod.index == 0), None)
    return None if ended is None else reports.TrainerReport.parse(ended.message)


def _with_report(context: DecisionContext, report: reports.TrainerReport) -> DecisionContext:
    """The context with a trainer's progress and checkpoint."""
    if report.progress is not None:
        context = context.with_status(progress=_advanced(context.status.progress, report.progress, context.now))
    if report.checkpoint is not None:
        context = _with_checkpoint(context, report.checkpoint)
    return ladder.closed(context, report)


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
