"""Gates: whether the evaluation reached what the job asks for."""

from collections.abc import Iterable, Sequence

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.resource.spec import GateSpec
from arcface_api.resource.status import GateResult


def gate_results(gates: Iterable[GateSpec], report: EvaluatorReport) -> list[GateResult]:
    """Each gate with the figure that was reached; a figure that was not measured does not pass."""
    gates = list(gates)
    asked = report.figures.by_metric(gate.metric for gate in gates) if report.figures is not None else {}
    figures = asked | _results(report)
    return [_gate_result(gate, figures.get(gate.metric)) for gate in gates]


def _gate_result(gate: GateSpec, value: float | None) -> GateResult:
    """How one gate came out."""
    passed = value is not None and gate.is_passed_by(value)
    return GateResult(metric=gate.metric, min=gate.min or 0.0, max=gate.max, value=value, passed=passed)


def _results(report: EvaluatorReport) -> dict[str, float]:
    """What every evaluation reports, by the names that gates use."""
    accuracies = {f"{result.dataset}.accuracy": result.accuracy for result in report.results}
    rates = {f"{ijb.dataset}.tar@{far}": tar for ijb in report.ijb for far, tar in ijb.tar_at_far.items()}
    return accuracies | rates


def missed(gates: Sequence[GateResult]) -> str:
    """One line about the gates that did not pass, empty when all did."""
    return "; ".join(
        f"gate {gate.metric}: {'not measured' if gate.value is None else f'{gate.value:.6g}'}, needs {gate.bounds}"
        for gate in gates
        if not gate.passed
    )
