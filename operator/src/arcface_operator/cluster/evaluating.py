"""After the training: the evaluator Job, its results and the gates."""

from pydantic import ValidationError

from arcface_api.reports import EvaluatorReport
from arcface_api.spec import EvaluationSpec
from arcface_api.status import EvaluationStatus, FailureStatus
from arcface_operator.cluster.case import Case
from arcface_operator.cluster.conditions import with_condition
from arcface_operator.cluster.ending import evaluator_removal, fail, succeed
from arcface_operator.cluster.faults import ended_fault
from arcface_operator.cluster.observation import EvaluatorView, PodView
from arcface_operator.cluster.plan import Apply, Create, Plan
from arcface_operator.gates import gate_results, missed
from arcface_operator.manifests.config_map import build_config_map
from arcface_operator.manifests.evaluator_job import build_evaluator_job, evaluation_hash


def begin_evaluation(case: Case) -> Plan:
    """What follows a training that is done."""
    return evaluate(case.with_status(phase="Evaluating"))


def evaluate(case: Case) -> Plan:
    """One look at the evaluation."""
    evaluation, evaluator = case.spec.evaluation, case.seen.evaluator
    if evaluation is None:
        return succeed(case)
    if evaluator is None:
        return create_evaluator(case, evaluation)
    if evaluator.is_leaving:
        return Plan(status=case.status)
    if evaluator.evaluation_hash != evaluation_hash(case.job):
        # The user has changed spec.evaluation in the meantime.
        return Plan(status=case.status, actions=evaluator_removal(case))
    return judge(case, evaluation, evaluator)


def judge(case: Case, evaluation: EvaluationSpec, evaluator: EvaluatorView) -> Plan:
    """What an evaluator's state means for the job."""
    if evaluator.failure is not None:
        return evaluator_failed(case, evaluator.failure)
    return read_results(case, evaluation) if evaluator.is_complete else Plan(status=case.status)


def create_evaluator(case: Case, evaluation: EvaluationSpec) -> Plan:
    """The configuration may have changed since the training began, hence it is applied again."""
    names = ", ".join([*evaluation.sets, *evaluation.ijb])
    case = with_condition(case, "Evaluated", truth=False, reason="Evaluating", message=f"evaluating {names}")
    job = build_evaluator_job(case.job, evaluation, case.settings)
    return Plan(status=case.status, actions=(Apply(build_config_map(case.job)), Create(job)))


def evaluator_pods(case: Case) -> list[PodView]:
    """The evaluator's pods that have ended, the newest last."""
    ended = [pod for pod in case.seen.pods if pod.component == "evaluator" and pod.ended is not None]
    return sorted(ended, key=lambda pod: pod.created)


def evaluator_failed(case: Case, why: str) -> Plan:
    """Kubernetes has given the evaluator up: the last of its pods says why."""
    failure = FailureStatus(reason="EvaluationFailed", message=why)
    for pod in evaluator_pods(case):
        if pod.ended is not None and pod.ended.exit_code != 0:
            failure = ended_fault(pod, pod.ended, 1).failure
    case = with_condition(case, "Evaluated", truth=False, reason="EvaluationFailed", message=failure.message)
    return fail(case, "EvaluationFailed", failure.message, failure)


def read_results(case: Case, evaluation: EvaluationSpec) -> Plan:
    """Results and gates from the evaluator's termination message."""
    done = [pod.ended for pod in evaluator_pods(case) if pod.ended is not None and pod.ended.exit_code == 0]
    if not done:
        # Somebody has removed the pod before its results were read: evaluate again.
        return Plan(status=case.status, actions=evaluator_removal(case))
    try:
        report = EvaluatorReport.model_validate_json(done[-1].message)
    except ValidationError:
        message = "the evaluator ended well but left no report; is spec.image the trainer image of this release?"
        return fail(with_condition(case, "Evaluated", truth=False, reason="NoReport"), "EvaluationFailed", message)
    return with_results(case, evaluation, report)


def with_results(case: Case, evaluation: EvaluationSpec, report: EvaluatorReport) -> Plan:
    """Write the results down and judge them."""
    gates = gate_results(evaluation.gates, report)
    results = EvaluationStatus(checkpoint=report.checkpoint or "", results=report.results, ijb=report.ijb, gates=gates)
    case = with_condition(case, "Evaluated", truth=True, reason="Evaluated").with_status(evaluation=results)
    if not gates:
        return succeed(case)
    if sentence := missed(gates):
        case = with_condition(case, "GatesPassed", truth=False, reason="GateMissed", message=sentence)
        return fail(case, "GateMissed", sentence)
    return succeed(with_condition(case, "GatesPassed", truth=True, reason="Passed", message="every gate is reached"))
