"""After the training: the evaluator Job, its results and the gates."""

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.errors import NEVER_RETRIED
from arcface_api.resource.spec import EvaluationSpec
from arcface_api.resource.status import EvaluationStatus, FailureStatus, GateResult
from arcface_operator.decision.conditions import with_condition
from arcface_operator.decision.context import Case
from arcface_operator.decision.ending import evaluator_removal, fail, has_left_its_node, succeed
from arcface_operator.decision.faults import ended_fault
from arcface_operator.decision.gates import gate_results, missed
from arcface_operator.decision.observation import EvaluatorView, PodView
from arcface_operator.decision.plan import Apply, Create, Delete, Plan
from arcface_operator.decision.starting import flaw
from arcface_operator.manifests.evaluator_job import build_evaluator_job, evaluation_hash
from arcface_operator.manifests.run_config import build_config_map

USUAL_WAITS = {"ContainerCreating", "PodInitializing", "Waiting"}
"""What every pod waits for; not worth telling."""
NO_POD = "its Job has no pod; see `kubectl describe job`, a quota or policy may refuse it"


def begin_evaluation(case: Case) -> Plan:
    """What follows a training that is done."""
    return evaluate(case.with_status(phase="Evaluating"))


def evaluate(case: Case) -> Plan:
    """One look at the evaluation."""
    evaluation, evaluator = case.spec.evaluation, case.seen.evaluator
    if evaluation is None:
        return succeed(case)
    if evaluator is None:
        sentence = flaw(case)
        return create_evaluator(case, evaluation) if sentence is None else fail(case, "InvalidSpec", sentence)
    if evaluator.is_leaving:
        return Plan(status=case.status)
    if evaluator.evaluation_hash != evaluation_hash(case.job):
        # The user has changed spec.evaluation in the meantime.
        return Plan(status=case.status, actions=evaluator_removal(case))
    return judge(case, evaluation, evaluator)


def judge(case: Case, evaluation: EvaluationSpec, evaluator: EvaluatorView) -> Plan:
    """What an evaluator's state means for the job.

    Kubernetes counts a pod only when all its containers have ended: one that a sidecar keeps alive is judged here.
    """
    pods = evaluator_pods(case, evaluator)
    ended = [pod for pod in pods if pod.ended is not None]
    if evaluator.failure is not None:
        return evaluator_failed(case, ended, evaluator.failure)
    if not evaluator.is_complete:
        left = [settling_seconds(case, pod) for pod in ended if not has_left_its_node(pod)]
        if not left:
            return follow_start(case, evaluation, evaluator, pods)
        if min(left) > 0:
            return Plan(status=case.status, look_again_seconds=min(left))
        if not succeeded(ended):
            return give_up(case, ended)
    if reports := succeeded(ended):
        return read_results(case, evaluation, reports[-1])
    # Either the end of its pod will be heard of in a moment, or somebody has removed it before it was read.
    is_gone = len(ended) == len(pods)
    return Plan(status=case.status, actions=evaluator_removal(case) if is_gone else ())


def give_up(case: Case, ended: list[PodView]) -> Plan:
    """Pods whose evaluator has failed beside a sidecar that lives on: Kubernetes retries once they are gone."""
    if any(pod.ended is not None and pod.ended.exit_code in NEVER_RETRIED for pod in ended):
        return evaluator_failed(case, ended, "the evaluator has failed")
    lingering = [pod for pod in ended if not has_left_its_node(pod) and not pod.is_leaving]
    return Plan(
        status=case.status,
        actions=tuple(Delete(resource="pods", name=pod.name, uid=pod.uid) for pod in lingering),
    )


def follow_start(case: Case, evaluation: EvaluationSpec, evaluator: EvaluatorView, pods: list[PodView]) -> Plan:
    """An evaluator under way: it has as long to start as the ranks."""
    pod = pods[-1] if pods else None
    if evaluator.is_suspended or (pod is not None and pod.is_gated):
        return Plan(status=with_evaluation(case, evaluation, "the queue has not let the evaluator in").status)
    if pod is not None and pod.phase != "Pending":
        return Plan(status=with_evaluation(case, evaluation).status)
    limit = case.spec.run_policy.startup_deadline_seconds
    since = case.seen.podless_since if pod is None else pod.created
    why = f"pod {pod.name}: {pod.waiting or 'not started'}" if pod is not None else NO_POD
    if case.is_past(since, limit):
        message = f"the evaluation has not begun after startupDeadlineSeconds {limit}: {why}"
        failure = FailureStatus(
            reason="StartupDeadlineExceeded",
            message=message,
            pod=pod.name if pod is not None else None,
            node=pod.node if pod is not None else None,
        )
        case = with_condition(case, "Evaluated", truth=False, reason="EvaluationFailed", message=message)
        return fail(case, "EvaluationFailed", message, failure)
    is_usual = pod is not None and (pod.waiting is None or pod.waiting.split(":")[0] in USUAL_WAITS)
    is_new = pod is None and not case.is_past(since, case.settings.check_seconds)
    case = with_evaluation(case, evaluation, None if is_usual or is_new else why)
    left = case.seconds_left(since, case.settings.check_seconds if is_new else limit)
    return Plan(status=case.status, look_again_seconds=left)


def with_evaluation(case: Case, evaluation: EvaluationSpec, waits_for: str | None = None) -> Case:
    """The case with an evaluation under way, or what that waits for."""
    message = waits_for or f"evaluating {', '.join(evaluation.sets)}"
    return with_condition(case, "Evaluated", truth=False, reason="Evaluating", message=message)


def settling_seconds(case: Case, pod: PodView) -> float:
    """Time left for a pod to be through once its main container has ended."""
    ended_at = pod.ended.at if pod.ended is not None else None
    return case.seconds_left(ended_at, case.settings.settle_seconds) or 0.0


def succeeded(pods: list[PodView]) -> list[str]:
    """Termination messages of the pods that ended well."""
    return [pod.ended.message for pod in pods if pod.ended is not None and pod.ended.exit_code == 0]


def create_evaluator(case: Case, evaluation: EvaluationSpec) -> Plan:
    """The configuration may have changed since the training began, hence it is applied again."""
    case = with_evaluation(case, evaluation)
    if case.seen.refusal is not None:
        case = with_condition(case, "Evaluated", truth=False, reason="Refused", message=case.seen.refusal)
    job = build_evaluator_job(case.job, evaluation, case.settings)
    return Plan(status=case.status, actions=(Apply(build_config_map(case.job)), Create(job)))


def evaluator_pods(case: Case, evaluator: EvaluatorView) -> list[PodView]:
    """This evaluator's pods, the newest last; those of one before it may still be about."""
    pods = [pod for pod in case.seen.pods if pod.component == "evaluator" and pod.owner == evaluator.uid]
    return sorted(pods, key=lambda pod: pod.created)


def evaluator_failed(case: Case, ended: list[PodView], why: str) -> Plan:
    """The evaluator is given up: the last of its pods says why, and what it had found by then."""
    failure, found = FailureStatus(reason="EvaluationFailed", message=why), EvaluatorReport()
    for pod in ended:
        if pod.ended is not None and pod.ended.exit_code != 0:
            failure = ended_fault(pod, pod.ended, 1).failure
            found = EvaluatorReport.parse(pod.ended.message) or EvaluatorReport()
    if found.results or found.ijb:
        # Gates are judged on the whole evaluation only.
        case = case.with_status(evaluation=evaluation_status(found, []))
    case = with_condition(case, "Evaluated", truth=False, reason="EvaluationFailed", message=failure.message)
    return fail(case, "EvaluationFailed", failure.message, failure)


def read_results(case: Case, evaluation: EvaluationSpec, message: str) -> Plan:
    """Results and gates from the evaluator's termination message, which must tell of every set."""
    report = EvaluatorReport.parse(message) or EvaluatorReport()
    told = {*(pairs.dataset for pairs in report.results), *(templates.dataset for templates in report.ijb)}
    if untold := [name for name in (*evaluation.sets, *evaluation.ijb) if name not in told]:
        message = (
            f"the evaluator ended well but reports no result for {', '.join(untold)}; "
            "is spec.image the trainer image of this release?"
        )
        case = with_condition(case, "Evaluated", truth=False, reason="NoReport", message=message)
        return fail(case, "EvaluationFailed", message)
    return with_results(case, evaluation, report)


def evaluation_status(report: EvaluatorReport, gates: list[GateResult]) -> EvaluationStatus:
    """What the status tells of a report."""
    return EvaluationStatus(checkpoint=report.checkpoint or "", results=report.results, ijb=report.ijb, gates=gates)


def with_results(case: Case, evaluation: EvaluationSpec, report: EvaluatorReport) -> Plan:
    """Write the results down and judge them."""
    gates = gate_results(evaluation.gates, report)
    results = evaluation_status(report, gates)
    case = with_condition(case, "Evaluated", truth=True, reason="Evaluated").with_status(evaluation=results)
    if not gates:
        return succeed(case)
    if sentence := missed(gates):
        case = with_condition(case, "GatesPassed", truth=False, reason="GateMissed", message=sentence)
        return fail(case, "GateMissed", sentence)
    return succeed(with_condition(case, "GatesPassed", truth=True, reason="Passed", message="every gate is reached"))
