"""After the training: the evaluator Job, its results and the gates."""

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.errors import NEVER_RETRIED
from arcface_api.resource.spec import EvaluationSpec
from arcface_api.resource.status import EvaluationStatus, FailureStatus, GateResult
from arcface_operator.decision import ending, faults, starting
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.observation import EvaluatorView, PodView
from arcface_operator.decision.plan import Apply, Create, Delete, Plan
from arcface_operator.decision.policies import gates, startup_deadline_seconds
from arcface_operator.manifests import config_maps, evaluator_job

USUAL_WAITS = {"ContainerCreating", "PodInitializing", "Waiting"}
"""What every pod waits for; not worth telling."""
NO_POD = "its Job has no pod; see `kubectl describe job`, a quota or policy may refuse it"


def begin_evaluation(context: DecisionContext) -> Plan:
    """What follows a training that is done."""
    return evaluate(context.with_status(phase="Evaluating"))


def evaluate(context: DecisionContext) -> Plan:
    """One look at the evaluation."""
    evaluation, evaluator = context.spec.evaluation, context.observed.evaluator
    if evaluation is None:
        return ending.succeed(context)
    if evaluator is None:
        sentence = starting.flaw(context)
        return (
            _create_evaluator(context, evaluation)
            if sentence is None
            else ending.fail(context, "InvalidSpec", sentence)
        )
    if evaluator.is_leaving:
        return Plan(status=context.status)
    if evaluator.evaluation_hash != evaluator_job.evaluation_hash(context.job):
        # The user has changed spec.evaluation in the meantime.
        return Plan(status=context.status, actions=ending.evaluator_removal(context))
    return _judge(context, evaluation, evaluator)


def _judge(context: DecisionContext, evaluation: EvaluationSpec, evaluator: EvaluatorView) -> Plan:
    """What an evaluator's state means for the job.

    Kubernetes counts a pod only when all its containers have ended: one that a sidecar keeps alive is judged here.
    """
    pods = _evaluator_pods(context, evaluator)
    ended = [pod for pod in pods if pod.ended is not None]
    if evaluator.failure is not None:
        return _evaluator_failed(context, ended, evaluator.failure)
    if not evaluator.is_complete:
        left = [_settling_seconds(context, pod) for pod in ended if not pod.has_left_its_node]
        if not left:
            return _follow_start(context, evaluation, evaluator, pods)
        if min(left) > 0:
            return Plan(status=context.status, look_again_seconds=min(left))
        if not _good_messages(ended):
            return _give_up(context, ended)
    if reports := _good_messages(ended):
        return _read_results(context, evaluation, reports[-1])
    # Either the end of its pod will be heard of in a moment, or somebody has removed it before it was read.
    is_gone = len(ended) == len(pods)
    return Plan(status=context.status, actions=ending.evaluator_removal(context) if is_gone else ())


def _give_up(context: DecisionContext, ended: list[PodView]) -> Plan:
    """Pods whose evaluator has failed beside a sidecar that lives on: Kubernetes retries once they are gone."""
    if any(pod.ended is not None and pod.ended.exit_code in NEVER_RETRIED for pod in ended):
        return _evaluator_failed(context, ended, "the evaluator has failed")
    lingering = [pod for pod in ended if not pod.has_left_its_node and not pod.is_leaving]
    return Plan(
        status=context.status,
        actions=tuple(Delete(resource="pods", name=pod.name, uid=pod.uid) for pod in lingering),
    )


def _follow_start(
    context: DecisionContext, evaluation: EvaluationSpec, evaluator: EvaluatorView, pods: list[PodView]
) -> Plan:
    """An evaluator under way: it has as long to start as the ranks."""
    pod = pods[-1] if pods else None
    if evaluator.is_suspended or (pod is not None and pod.is_gated):
        return Plan(status=_with_evaluation(context, evaluation, "the queue has not let the evaluator in").status)
    if pod is not None and pod.phase != "Pending":
        return Plan(status=_with_evaluation(context, evaluation).status)
    since = context.observed.podless_since if pod is None else pod.created
    why = f"pod {pod.name}: {pod.waiting or 'not started'}" if pod is not None else NO_POD
    if (failure := startup_deadline_seconds.late_evaluator(context, since, pod, why)) is not None:
        return _failed(context, failure)
    is_usual = pod is not None and (pod.waiting is None or pod.waiting.split(":")[0] in USUAL_WAITS)
    is_new = pod is None and not context.is_past(since, context.settings.check_seconds)
    context = _with_evaluation(context, evaluation, None if is_usual or is_new else why)
    limit = context.spec.run_policy.startup_deadline_seconds
    left = context.seconds_left(since, context.settings.check_seconds if is_new else limit)
    return Plan(status=context.status, look_again_seconds=left)


def _with_evaluation(
    context: DecisionContext, evaluation: EvaluationSpec, waits_for: str | None = None
) -> DecisionContext:
    """The context with an evaluation under way, or what that waits for."""
    message = waits_for or f"evaluating {', '.join(evaluation.sets)}"
    return context.with_condition("Evaluated", truth=False, reason="Evaluating", message=message)


def _settling_seconds(context: DecisionContext, pod: PodView) -> float:
    """Time left for a pod to be through once its main container has ended."""
    ended_at = pod.ended.at if pod.ended is not None else None
    return context.seconds_left(ended_at, context.settings.settle_seconds) or 0.0


def _good_messages(pods: list[PodView]) -> list[str]:
    """Termination messages of the pods that ended well."""
    return [pod.ended.message for pod in pods if pod.ended is not None and pod.ended.exit_code == 0]


def _create_evaluator(context: DecisionContext, evaluation: EvaluationSpec) -> Plan:
    """The configuration may have changed since the training began, hence it is applied again."""
    context = _with_evaluation(context, evaluation)
    if context.observed.refusal is not None:
        context = context.with_condition("Evaluated", truth=False, reason="Refused", message=context.observed.refusal)
    job = evaluator_job.build_evaluator_job(context.job, evaluation, context.settings)
    return Plan(status=context.status, actions=(Apply(config_maps.build_config_map(context.job)), Create(job)))


def _evaluator_pods(context: DecisionContext, evaluator: EvaluatorView) -> list[PodView]:
    """This evaluator's pods, the newest last; those of one before it may still be about."""
    pods = [pod for pod in context.observed.pods if pod.component == "evaluator" and pod.owner == evaluator.uid]
    return sorted(pods, key=lambda pod: pod.created)


def _evaluator_failed(context: DecisionContext, ended: list[PodView], why: str) -> Plan:
    """The evaluator is given up: the last of its pods says why, and what it had found by then."""
    failure, found = FailureStatus(reason="EvaluationFailed", message=why), EvaluatorReport()
    for pod in ended:
        if pod.ended is not None and pod.ended.exit_code != 0:
            failure = faults.ended_fault(pod, pod.ended, 1).failure
            found = EvaluatorReport.parse(pod.ended.message) or EvaluatorReport()
    if found.results or found.ijb:
        # Gates are judged on the whole evaluation only.
        context = context.with_status(evaluation=_evaluation_status(found, []))
    return _failed(context, failure)


def _failed(context: DecisionContext, failure: FailureStatus) -> Plan:
    """The job fails with its evaluator."""
    context = context.with_condition("Evaluated", truth=False, reason="EvaluationFailed", message=failure.message)
    return ending.fail(context, "EvaluationFailed", failure.message, failure)


def _read_results(context: DecisionContext, evaluation: EvaluationSpec, message: str) -> Plan:
    """Results and gates from the evaluator's termination message, which must tell of every set."""
    report = EvaluatorReport.parse(message) or EvaluatorReport()
    told = {*(pairs.dataset for pairs in report.results), *(templates.dataset for templates in report.ijb)}
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
