"""What rank 0 reports: while it runs, asked by the operator, and as its last word in its termination message."""

from datetime import datetime

from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import CheckpointStatus, Progress
from arcface_operator.decision.context import DecisionContext
from arcface_operator.manifests.config_maps import checkpoint_path


def with_live_report(context: DecisionContext) -> DecisionContext:
    """The context with what rank 0 serves; its first word is the beginning of the training."""
    report = context.observed.report
    if report is None or report.progress is None:
        return context
    if context.status.phase == "Starting":
        message = f"attempt {context.status.attempt} trains"
        context = context.with_condition("Training", truth=True, reason="Training", message=message)
        context = context.with_status(phase="Training")
    return _with_report(context, report)


def with_last_report(context: DecisionContext) -> DecisionContext:
    """The context with what the first pod said at its end."""
    ended = context.workers[0].ended
    report = None if ended is None else TrainerReport.parse(ended.message)
    context = _with_report(context, report or TrainerReport())
    return context.with_condition("Training", truth=False, reason="Trained", message="every rank has ended well")


def _with_report(context: DecisionContext, report: TrainerReport) -> DecisionContext:
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
    """The context with the newest complete checkpoint; a trainer names its folder within the job's own."""
    path = f"{checkpoint_path(context.job)}/{checkpoint.path}"
    message = f"step {checkpoint.step} in {path}"
    found = context.with_condition("CheckpointAvailable", truth=True, reason="Saved", message=message)
    return found.with_status(checkpoint=checkpoint.model_copy(update={"path": path}))
