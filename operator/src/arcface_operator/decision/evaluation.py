"""What is the evaluation's own in the course of its gang: when it is opened, its results and the gates."""

import hashlib

from arcface_api.contract.pod_environment import EVALUATE_AGAIN_ANNOTATION
from arcface_api.contract.reports import EvaluatorReport
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import EvaluationSpec
from arcface_api.resource.status import EvaluationStatus, FailureStatus, GateResult
from arcface_operator.decision import ending, stages, starting
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.plan import Plan
from arcface_operator.decision.policies import gates


def evaluation_hash(job: ArcFaceTrainingJob) -> str:
    """SHA-256 of what is to be evaluated and how, and of the annotation that asks for it once more.

    Defaults are left out: a release that adds a field must not have every job evaluated again. Nor may one that moves
    fields: their order is part of the hash, which the operators of two releases compare in both directions.
    """
    evaluation = job.spec.evaluation
    wish = "" if evaluation is None else evaluation.model_dump_json(by_alias=True, exclude_defaults=True)
    return hashlib.sha256(f"{wish}\n{job.metadata.annotations.get(EVALUATE_AGAIN_ANNOTATION, '')}".encode()).hexdigest()


def is_to_be_opened(context: DecisionContext) -> bool:
    """Whether the user of a trained job wishes for another evaluation than the one that was begun."""
    if context.spec.suspend or context.stage is not stages.EVALUATION:
        return False
    if context.status.evaluation_hash == evaluation_hash(context.job):
        return False
    return context.spec.evaluation is not None or context.status.phase != "Succeeded"


def open_stage(context: DecisionContext) -> Plan:
    """What follows a training that is done, and a wish for another evaluation."""
    if context.status.completion_time is not None:
        context = _with_reopening(context)
    context = context.with_status(
        training_completion_time=context.status.training_completion_time or context.now,
        evaluation_hash=evaluation_hash(context.job),
        forgiven_restarts=context.status.counted_restarts,
        start_time=context.status.start_time or context.now,
    )
    if context.spec.evaluation is None:
        return ending.succeed(context)
    if (sentence := starting.flaw(context)) is not None:
        context = context.with_condition("Evaluated", truth=False, reason="InvalidSpec", message=sentence)
        return ending.fail(context, "InvalidSpec", sentence)
    context = starting.with_fresh_stage(context, "the training is done, the evaluation is about to start")
    attempt = context.status.attempt + 1
    return starting.start(context.with_status(phase="Pending", attempt=attempt, launch=0, replacement=None))


def _with_reopening(context: DecisionContext) -> DecisionContext:
    """The context of a job that has ended and goes on: nothing is said of its end, and its time begins anew."""
    for kind in ("Complete", "Failed"):
        why = "another evaluation is wished for"
        context = context.with_condition(kind, truth=False, reason="Reopened", message=why)
    kept = [item for item in context.status.conditions if item.type != "GatesPassed"]
    return context.with_status(conditions=kept, completion_time=None, active_seconds=0)


def with_live_report(context: DecisionContext) -> DecisionContext:
    """The context with what the evaluator serves; it is under way once its pod runs, and moves with every image."""
    context, report = _with_findings(_with_beginning(context.with_sighting())), context.observed.report
    if not isinstance(report, EvaluatorReport) or report.progress is None:
        return context
    old = context.status.evaluation_progress
    if old is not None and old.images == report.progress.images:
        return context
    return context.with_status(evaluation_progress=report.progress.model_copy(update={"updated_at": context.now}))


def _with_findings(context: DecisionContext) -> DecisionContext:
    """The context with the sets that are done, also those of a pod that has died since.

    Where others of the checkpoint are known they stay: the next pod begins to tell of none. Gates are judged on the
    whole evaluation only.
    """
    ends = (EvaluatorReport.parse(pod.ended.message) for pod in context.pods if pod.ended is not None)
    for report in (context.observed.report, *ends):
        if not isinstance(report, EvaluatorReport):
            continue
        known, found = context.status.evaluation, _evaluation_status(report, [])
        if known is None or known.checkpoint != found.checkpoint:
            known = EvaluationStatus(checkpoint=found.checkpoint)
        if _datasets(known) < _datasets(found):
            context = context.with_status(evaluation=found)
    return context


def _datasets(evaluation: EvaluationStatus) -> set[str]:
    """The sets that there are results of."""
    return {*(pairs.dataset for pairs in evaluation.results), *(templates.dataset for templates in evaluation.ijb)}


def _with_beginning(context: DecisionContext) -> DecisionContext:
    """The context with the evaluation under way once its pod runs."""
    evaluation, pods = context.spec.evaluation, context.pods
    if evaluation is None or context.status.phase != "Starting" or any(pod.phase == "Pending" for pod in pods):
        return context
    message = f"evaluating {', '.join([*evaluation.sets, *evaluation.ijb])}"
    context = context.with_condition("Evaluated", truth=False, reason="Evaluating", message=message)
    return context.with_status(phase="Evaluating")


def give_up(context: DecisionContext, _reason: str, message: str, failure: FailureStatus) -> Plan:
    """The job fails with its evaluation, of which the status keeps what was found; the training stays done."""
    context = _with_findings(context)
    context = context.with_condition("Evaluated", truth=False, reason="EvaluationFailed", message=message)
    return ending.fail(context, "EvaluationFailed", message, failure)


def read_results(context: DecisionContext) -> Plan:
    """Results and gates from the evaluator's termination message, which must tell of every set."""
    evaluation, ended = context.spec.evaluation, context.pods[0].ended
    if evaluation is None or ended is None:
        return Plan(status=context.status)
    report = EvaluatorReport.parse(ended.message) or EvaluatorReport()
    told = _datasets(_evaluation_status(report, []))
    if untold := [name for name in (*evaluation.sets, *evaluation.ijb) if name not in told]:
        message = (
            f"the evaluator ended well but reports no result for {', '.join(untold)}; "
            "is spec.image the trainer image of this release?"
        )
        context = context.with_condition("Evaluated", truth=False, reason="NoReport", message=message)
        return ending.fail(context, "EvaluationFailed", message)
    return _with_results(context, evaluation, report)


def _evaluation_status(report: EvaluatorReport, judged: list[GateResult]) -> EvaluationStatus:
    """What the status tells of a report."""
    return EvaluationStatus(checkpoint=report.checkpoint or "", results=report.results, ijb=report.ijb, gates=judged)


def _with_results(context: DecisionContext, evaluation: EvaluationSpec, report: EvaluatorReport) -> Plan:
    """Write the results down and judge them."""
    judged = gates.gate_results(evaluation.gates, report)
    results = _evaluation_status(report, judged)
    context = context.with_condition("Evaluated", truth=True, reason="Evaluated").with_status(evaluation=results)
    if not judged:
        return ending.succeed(context)
    if sentence := gates.missed(judged):
        context = context.with_condition("GatesPassed", truth=False, reason="GateMissed", message=sentence)
        return ending.fail(context, "GateMissed", sentence)
    return ending.succeed(
        context.with_condition("GatesPassed", truth=True, reason="Passed", message="every gate is reached")
    )
